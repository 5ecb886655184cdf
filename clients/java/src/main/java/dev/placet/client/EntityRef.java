package dev.placet.client;

import static java.util.Objects.requireNonNull;

/**
 * The name of one entity: a Cedar type and an id of any text.
 *
 * <p>Subjects and resources are named like this as well. Keep the two parts apart: an id comes from
 * outside and may hold anything, so that putting names together and taking them apart again is how
 * one user becomes another.
 *
 * @param type the Cedar entity type, such as {@code User} or {@code Acme::Invoice}
 * @param id the identifier within the type
 */
public record EntityRef(String type, String id) {

  /** Refuses a name of which a part is missing. */
  public EntityRef {
    requireNonNull(type, "type");
    requireNonNull(id, "id");
  }

  /**
   * Names an entity.
   *
   * @param type the Cedar entity type
   * @param id the identifier within the type
   * @return the name
   */
  public static EntityRef of(String type, String id) {
    return new EntityRef(type, id);
  }

  /** Writes the name as Cedar does: {@code User::"alice"}. */
  @Override
  public String toString() {
    StringBuilder written = new StringBuilder(type).append("::\"");
    for (int at = 0; at < id.length(); at++) {
      char c = id.charAt(at);
      switch (c) {
        case '"' -> written.append("\\\"");
        case '\\' -> written.append("\\\\");
        case '\n' -> written.append("\\n");
        case '\r' -> written.append("\\r");
        case '\t' -> written.append("\\t");
        case '\0' -> written.append("\\0");
        default -> written.append(c);
      }
    }
    return written.append('"').toString();
  }
}
