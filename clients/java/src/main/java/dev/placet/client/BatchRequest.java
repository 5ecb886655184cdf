package dev.placet.client;

import dev.placet.v1.EvaluateBatchRequest;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/**
 * Up to 1,000 requests that are decided by one revision. Immutable.
 *
 * <p>What a request leaves out comes from the defaults: its own subject, action or resource
 * replaces the default as a whole, and contexts are merged, where the request's own value wins.
 */
public final class BatchRequest {

  /** When a batch may stop early. */
  public enum Semantics {
    /** Decide all of them. */
    EXECUTE_ALL(dev.placet.v1.BatchSemantics.BATCH_SEMANTICS_EXECUTE_ALL),
    /** Stop after the first that is not allowed. */
    DENY_ON_FIRST_DENY(dev.placet.v1.BatchSemantics.BATCH_SEMANTICS_DENY_ON_FIRST_DENY),
    /** Stop after the first that is allowed. */
    PERMIT_ON_FIRST_PERMIT(dev.placet.v1.BatchSemantics.BATCH_SEMANTICS_PERMIT_ON_FIRST_PERMIT);

    private final dev.placet.v1.BatchSemantics message;

    Semantics(dev.placet.v1.BatchSemantics message) {
      this.message = message;
    }
  }

  private final EvaluateBatchRequest message;

  private BatchRequest(EvaluateBatchRequest message) {
    this.message = message;
  }

  /**
   * Makes a batch of requests that are complete by themselves.
   *
   * @param requests the requests
   * @return the batch
   */
  public static BatchRequest of(Collection<Request> requests) {
    return builder().add(requests).build();
  }

  /**
   * Begins a batch.
   *
   * @return what gathers its parts
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns how many requests are in it.
   *
   * @return their number
   */
  public int size() {
    return message.getItemsCount();
  }

  EvaluateBatchRequest toMessage(String tenant, long minRevision) {
    return message.toBuilder().setTenant(tenant).setMinRevision(minRevision).build();
  }

  /** Gathers the parts of a batch. */
  public static final class Builder {

    private final List<Request> requests = new ArrayList<>();
    private Request defaults = Request.builder().build();
    private Semantics semantics = Semantics.EXECUTE_ALL;

    private Builder() {}

    /**
     * Says what requests of the batch may leave out.
     *
     * @param defaults a request of the parts that have a default; a permit has none
     * @return this
     */
    public Builder defaults(Request defaults) {
      if (!defaults.toItem().getPermit().isEmpty()) {
        throw Values.refusal("permit", "is for exactly one action; give it to a request");
      }
      this.defaults = defaults;
      return this;
    }

    /**
     * Says when the batch may stop early.
     *
     * @param semantics when
     * @return this
     */
    public Builder semantics(Semantics semantics) {
      this.semantics = semantics;
      return this;
    }

    /**
     * Adds a request.
     *
     * @param request the request
     * @return this
     */
    public Builder add(Request request) {
      requests.add(request);
      return this;
    }

    /**
     * Adds requests.
     *
     * @param requests the requests
     * @return this
     */
    public Builder add(Collection<Request> requests) {
      this.requests.addAll(requests);
      return this;
    }

    /**
     * Ends the gathering.
     *
     * @return the batch
     */
    public BatchRequest build() {
      var known = defaults.toItem();
      var message =
          EvaluateBatchRequest.newBuilder()
              .putAllContext(known.getContextMap())
              .addAllEntities(known.getEntitiesList())
              .setSemantics(semantics.message);
      if (known.hasSubject()) {
        message.setSubject(known.getSubject());
      }
      if (known.hasAction()) {
        message.setAction(known.getAction());
      }
      if (known.hasResource()) {
        message.setResource(known.getResource());
      }
      requests.forEach(request -> message.addItems(request.toItem()));
      return new BatchRequest(message.build());
    }
  }
}
