package dev.placet.client;

/** Where a policy comes from, in order of authority. */
public enum Layer {
  /** One that this version does not know. */
  UNKNOWN,
  /** The platform's operator. */
  PLATFORM,
  /** The law that the tenant is under. */
  JURISDICTION,
  /** The tenant itself. */
  TENANT,
  /** An agent of the tenant's. */
  AGENT;

  static Layer read(dev.placet.v1.Layer message) {
    return switch (message) {
      case LAYER_PLATFORM -> PLATFORM;
      case LAYER_JURISDICTION -> JURISDICTION;
      case LAYER_TENANT -> TENANT;
      case LAYER_AGENT -> AGENT;
      case LAYER_UNSPECIFIED, UNRECOGNIZED -> UNKNOWN;
    };
  }
}
