package dev.placet.client;

import static java.util.Collections.unmodifiableMap;
import static java.util.Objects.requireNonNull;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A subject, resource or group that the caller knows, sent along with a request.
 *
 * <p>Entities of the same name that the service has stored are merged with it: stored attributes
 * win, parents add up. For what values can be, see {@link Request.Builder#context(String, Object)}.
 *
 * @param ref its name
 * @param attributes its attributes
 * @param parents its direct parents; ancestry is transitive
 * @param tags its tags
 */
public record Entity(
    EntityRef ref, Map<String, ?> attributes, List<EntityRef> parents, Map<String, ?> tags) {

  /** Copies what is given, so that later changes do not show. */
  public Entity {
    requireNonNull(ref, "ref");
    // Not `Map.copyOf`: a null in it is refused where its name can be said.
    attributes = unmodifiableMap(new LinkedHashMap<>(attributes));
    parents = List.copyOf(parents);
    tags = unmodifiableMap(new LinkedHashMap<>(tags));
  }

  /**
   * Names an entity about which nothing is known yet.
   *
   * @param type the Cedar entity type
   * @param id the identifier within the type
   * @return the entity
   */
  public static Entity of(String type, String id) {
    return new Entity(EntityRef.of(type, id), Map.of(), List.of(), Map.of());
  }

  /**
   * Returns the same entity with other attributes.
   *
   * @param attributes all of its attributes
   * @return the entity
   */
  public Entity withAttributes(Map<String, ?> attributes) {
    return new Entity(ref, attributes, parents, tags);
  }

  /**
   * Returns the same entity with other parents.
   *
   * @param parents all of its direct parents
   * @return the entity
   */
  public Entity withParents(EntityRef... parents) {
    return new Entity(ref, attributes, List.of(parents), tags);
  }

  /**
   * Returns the same entity with other tags.
   *
   * @param tags all of its tags
   * @return the entity
   */
  public Entity withTags(Map<String, ?> tags) {
    return new Entity(ref, attributes, parents, tags);
  }
}
