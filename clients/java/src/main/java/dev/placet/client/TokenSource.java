package dev.placet.client;

import java.io.IOException;

/**
 * Where the bearer token of a call comes from. It is asked for each call, from any thread of the
 * channel's executor.
 */
@FunctionalInterface
public interface TokenSource {

  /**
   * Returns a token that is good now.
   *
   * @return the token, without {@code Bearer}
   * @throws IOException if there is none; the call then fails with {@code UNAUTHENTICATED}
   */
  String token() throws IOException;
}
