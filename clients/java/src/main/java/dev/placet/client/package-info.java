/**
 * A small client for Placet, a policy decision service: may this subject do this action on this
 * resource, and why.
 *
 * <p>Begin with {@link dev.placet.client.PlacetClient}. Messages and stubs of the wire are in
 * {@code dev.placet.v1}.
 */
package dev.placet.client;
