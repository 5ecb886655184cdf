package dev.placet.client;

import dev.placet.v1.ResidencyRefusal;
import io.grpc.Status;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * There is no decision: the request is wrong, or nobody could answer it. Neither an allow nor a
 * denial, whatever the reason.
 */
public final class PlacetException extends RuntimeException {

  private static final long serialVersionUID = 1L;

  private final transient StatusDetails details;
  private final Status.Code code;
  private final String description;

  PlacetException(Status.Code code, String description, StatusDetails details, Throwable cause) {
    super(written(code, details.reason(), description), cause);
    this.code = code;
    this.description = description;
    this.details = details;
  }

  static PlacetException of(Status.Code code, String description) {
    return new PlacetException(code, description, StatusDetails.NONE, null);
  }

  /** What a server would say of the same field, said before it is asked. */
  static PlacetException malformed(String field, String description) {
    var violations = List.of(new Violation(field, description));
    return new PlacetException(
        Status.Code.INVALID_ARGUMENT,
        "`" + field + "` " + description,
        StatusDetails.NONE.withReason("REQUEST_MALFORMED").withViolations(violations),
        null);
  }

  private static String written(Status.Code code, String reason, String description) {
    return code + (reason.isEmpty() ? "" : " " + reason) + ": " + description;
  }

  /**
   * Returns the status that the call ended with.
   *
   * @return {@code UNAVAILABLE}, {@code DEADLINE_EXCEEDED} and {@code RESOURCE_EXHAUSTED} may be
   *     otherwise the next time; {@code INVALID_ARGUMENT} will not
   */
  public Status.Code code() {
    return code;
  }

  /**
   * Returns the stable identifier that the server gave.
   *
   * @return such as {@code TENANT_UNKNOWN}; empty when the server gave none
   */
  public String reason() {
    return details().reason();
  }

  /**
   * Returns what is wrong and what to do, for people.
   *
   * @return the text, without code and reason
   */
  public String description() {
    return description;
  }

  /**
   * Returns the fields of the request that are not as they have to be.
   *
   * @return all of them; empty when the error is not about the request
   */
  public List<Violation> violations() {
    return details().violations();
  }

  /**
   * Returns how long to wait before the next try.
   *
   * @return what the server said, if it did
   */
  public Optional<Duration> retryDelay() {
    return details().retryDelay();
  }

  /**
   * Returns further facts that the server gave with the reason.
   *
   * @return facts by name
   */
  public Map<String, String> metadata() {
    return details().metadata();
  }

  /**
   * Returns where the tenant may be asked for instead.
   *
   * @return what a node said that may not have the tenant's data ({@code WRONG_REGION})
   */
  public Optional<ResidencyRefusal> residencyRefusal() {
    return details().refusal();
  }

  private StatusDetails details() {
    // Details do not travel when an exception is serialized.
    return details == null ? StatusDetails.NONE : details;
  }
}
