package dev.placet.client;

import static java.util.Objects.requireNonNull;

import dev.placet.v1.Action;
import dev.placet.v1.BatchItem;
import dev.placet.v1.EvaluateRequest;
import dev.placet.v1.Resource;
import dev.placet.v1.Subject;
import java.util.Map;

/**
 * Who wants which action on what, under which circumstances. Immutable.
 *
 * <pre>{@code
 * Request request =
 *     Request.builder()
 *         .subject("User", "carol")
 *         .action("approve")
 *         .resource("Invoice", "laptops")
 *         .context("amount", 12_000)
 *         .build();
 * }</pre>
 *
 * <p>Within a batch a request may leave out what the batch's defaults say.
 */
public final class Request {

  private final BatchItem message;

  private Request(BatchItem message) {
    this.message = message;
  }

  /**
   * Makes a request of just the three parts that each has.
   *
   * @param subject who asks
   * @param action the name of what the subject wants to do
   * @param resource what it is done to
   * @return the request
   */
  public static Request of(EntityRef subject, String action, EntityRef resource) {
    return builder().subject(subject).action(action).resource(resource).build();
  }

  /**
   * Begins a request.
   *
   * @return what gathers its parts
   */
  public static Builder builder() {
    return new Builder(BatchItem.newBuilder());
  }

  /**
   * Begins a request that differs from this one in some parts.
   *
   * @return what gathers its parts
   */
  public Builder toBuilder() {
    return new Builder(message.toBuilder());
  }

  BatchItem toItem() {
    return message;
  }

  EvaluateRequest toMessage(String tenant, long minRevision) {
    var request =
        EvaluateRequest.newBuilder()
            .setTenant(tenant)
            .putAllContext(message.getContextMap())
            .addAllEntities(message.getEntitiesList())
            .setMinRevision(minRevision)
            .setPermit(message.getPermit());
    // What is missing is for the server to refuse: it names all of it at once.
    if (message.hasSubject()) {
      request.setSubject(message.getSubject());
    }
    if (message.hasAction()) {
      request.setAction(message.getAction());
    }
    if (message.hasResource()) {
      request.setResource(message.getResource());
    }
    return request.build();
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Request request && message.equals(request.message);
  }

  @Override
  public int hashCode() {
    return message.hashCode();
  }

  /** Names subject, action and resource; what else the request holds is nobody's log's business. */
  @Override
  public String toString() {
    Subject subject = message.getSubject();
    Resource resource = message.getResource();
    return "Request["
        + EntityRef.of(subject.getType(), subject.getId())
        + " "
        + message.getAction().getName()
        + " "
        + EntityRef.of(resource.getType(), resource.getId())
        + "]";
  }

  /**
   * Gathers the parts of a request.
   *
   * <p>Attributes and context hold values that policies know:
   *
   * <table>
   * <caption>Values of Java and of Cedar</caption>
   * <tr><th>Java</th><th>Cedar</th></tr>
   * <tr><td>{@code Boolean}, {@code String}</td><td>the same</td></tr>
   * <tr><td>whole numbers of up to 64 bits</td><td>{@code Long}</td></tr>
   * <tr><td>any {@code Collection}</td><td>{@code Set}</td></tr>
   * <tr><td>any {@code Map} with text for keys</td><td>record</td></tr>
   * <tr><td>{@link EntityRef}</td><td>reference to an entity</td></tr>
   * <tr><td>{@code BigDecimal}</td><td>{@code decimal}: at most 4 decimal places</td></tr>
   * <tr><td>{@code Instant}, {@code OffsetDateTime}, {@code ZonedDateTime}</td>
   *     <td>{@code datetime}, cut to the millisecond</td></tr>
   * <tr><td>{@code Duration}</td><td>{@code duration}, cut to the millisecond</td></tr>
   * <tr><td>{@code InetAddress}</td><td>{@code ip}</td></tr>
   * <tr><td>{@link Extension}</td><td>whatever else Cedar's functions take</td></tr>
   * </table>
   *
   * <p>There is no {@code double}, since Cedar has none, and no null: what has no value is left
   * out. Methods throw {@link PlacetException} with {@code INVALID_ARGUMENT} for what cannot be
   * sent.
   */
  public static final class Builder {

    private final BatchItem.Builder message;

    private Builder(BatchItem.Builder message) {
      this.message = message;
    }

    /**
     * Says who asks.
     *
     * @param type Cedar entity type, such as {@code User}
     * @param id the subject's id
     * @return this
     */
    public Builder subject(String type, String id) {
      return subject(type, id, Map.of());
    }

    /**
     * Says who asks.
     *
     * @param subject the subject's name
     * @return this
     */
    public Builder subject(EntityRef subject) {
      return subject(subject.type(), subject.id());
    }

    /**
     * Says who asks, and what is known about them.
     *
     * @param type Cedar entity type, such as {@code User}
     * @param id the subject's id
     * @param properties attributes; a stored attribute of the same name wins
     * @return this
     */
    public Builder subject(String type, String id, Map<String, ?> properties) {
      message.setSubject(subjectMessage(type, id, properties));
      return this;
    }

    /**
     * Says what the subject wants to do.
     *
     * @param name such as {@code view}
     * @return this
     */
    public Builder action(String name) {
      return action(name, "", Map.of());
    }

    /**
     * Says what the subject wants to do, for actions in a namespace or with attributes.
     *
     * @param name such as {@code view}
     * @param type such as {@code Acme::Action}; empty for {@code Action}
     * @param properties attributes
     * @return this
     */
    public Builder action(String name, String type, Map<String, ?> properties) {
      message.setAction(actionMessage(name, type, properties));
      return this;
    }

    /**
     * Says what it is done to.
     *
     * @param type Cedar entity type, such as {@code Invoice}
     * @param id the resource's id
     * @return this
     */
    public Builder resource(String type, String id) {
      return resource(type, id, Map.of());
    }

    /**
     * Says what it is done to.
     *
     * @param resource the resource's name
     * @return this
     */
    public Builder resource(EntityRef resource) {
      return resource(resource.type(), resource.id());
    }

    /**
     * Says what it is done to, and what is known about it.
     *
     * @param type Cedar entity type, such as {@code Invoice}
     * @param id the resource's id
     * @param properties attributes; a stored attribute of the same name wins
     * @return this
     */
    public Builder resource(String type, String id, Map<String, ?> properties) {
      message.setResource(resourceMessage(type, id, properties));
      return this;
    }

    /**
     * Adds one circumstance of the request: a time, an address, a purpose.
     *
     * @param name what policies call it
     * @param value its value
     * @return this
     */
    public Builder context(String name, Object value) {
      String path = "context." + name;
      message.putContext(Values.text(name, path), Values.attribute(value, path));
      return this;
    }

    /**
     * Adds circumstances of the request.
     *
     * @param context values by name
     * @return this
     */
    public Builder context(Map<String, ?> context) {
      message.putAllContext(Values.attributes(context, "context"));
      return this;
    }

    /**
     * Adds an entity that the caller knows, such as a group that the subject is in.
     *
     * @param entity what is known about it
     * @return this
     */
    public Builder entity(Entity entity) {
      requireNonNull(entity, "entity");
      message.addEntities(Values.entity(entity, "entities[" + message.getEntitiesCount() + "]"));
      return this;
    }

    /**
     * Shows leave to do exactly this action, given after an approval.
     *
     * @param permit the permit
     * @return this
     */
    public Builder permit(String permit) {
      message.setPermit(Values.text(permit, "permit"));
      return this;
    }

    /**
     * Ends the gathering.
     *
     * @return the request
     */
    public Request build() {
      return new Request(message.build());
    }
  }

  static Subject subjectMessage(String type, String id, Map<String, ?> properties) {
    return Subject.newBuilder()
        .setType(Values.text(type, "subject.type"))
        .setId(Values.text(id, "subject.id"))
        .putAllProperties(Values.attributes(properties, "subject.properties"))
        .build();
  }

  static Action actionMessage(String name, String type, Map<String, ?> properties) {
    return Action.newBuilder()
        .setName(Values.text(name, "action.name"))
        .setType(Values.text(type, "action.type"))
        .putAllProperties(Values.attributes(properties, "action.properties"))
        .build();
  }

  static Resource resourceMessage(String type, String id, Map<String, ?> properties) {
    return Resource.newBuilder()
        .setType(Values.text(type, "resource.type"))
        .setId(Values.text(id, "resource.id"))
        .putAllProperties(Values.attributes(properties, "resource.properties"))
        .build();
  }
}
