import { ChannelCredentials, type experimental } from '@grpc/grpc-js';

type Connector = experimental.SecureConnector;
type Connected = experimental.SecureConnectResult;
type Socket = Connected['socket'];

/**
 * Credentials under which a server has to speak within a time, once it has taken a connection.
 *
 * grpc-js itself waits without end, for TLS and for the first frame of HTTP/2, and tries again only
 * when an attempt has failed (grpc/grpc-node#2785). A server that hangs, or a network that takes
 * connections and loses what is sent on them, would keep an address out of use for as long as the
 * process lives, also where it is one of several. @internal
 */
export class BoundedCredentials extends ChannelCredentials {
  readonly #inner: ChannelCredentials;
  readonly #timeoutMs: number;

  constructor(inner: ChannelCredentials, timeoutMs: number) {
    super();
    this.#inner = inner;
    this.#timeoutMs = timeoutMs;
  }

  override _isSecure(): boolean {
    return this.#inner._isSecure();
  }

  override _equals(other: ChannelCredentials): boolean {
    return (
      other instanceof BoundedCredentials &&
      other.#timeoutMs === this.#timeoutMs &&
      this.#inner._equals(other.#inner)
    );
  }

  override _createSecureConnector(
    ...given: Parameters<ChannelCredentials['_createSecureConnector']>
  ): Connector {
    const inner = this.#inner._createSecureConnector(...given);
    return {
      connect: (socket) => connected(inner, socket, this.#timeoutMs),
      waitForReady: () => inner.waitForReady(),
      getCallCredentials: () => inner.getCallCredentials(),
      destroy: () => inner.destroy(),
    };
  }
}

async function connected(inner: Connector, socket: Socket, timeoutMs: number): Promise<Connected> {
  const connection = await shakenHands(inner, socket, timeoutMs);
  const over = connection.socket;
  const { bytesRead } = over;
  setTimeout(() => {
    // Not by an event: what comes is the HTTP/2 session's to read.
    if (over.bytesRead === bytesRead) {
      // Without an error: grpc-js takes the close that follows one for that of its next attempt.
      over.destroy();
    }
  }, timeoutMs).unref();
  return connection;
}

function shakenHands(inner: Connector, socket: Socket, timeoutMs: number): Promise<Connected> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error('the server took the connection, and spoke no TLS'));
      socket.destroy();
    }, timeoutMs).unref();
    inner
      .connect(socket)
      .finally(() => clearTimeout(timer))
      .then(resolve, reject);
  });
}
