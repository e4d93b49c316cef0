package dev.semel.client.testing;

import dev.semel.client.Client;
import dev.semel.client.ClientOptions;
import java.util.List;

/**
 * A client without a server, for tests. What a key comes to is scripted; a key without a script is
 * kept in memory as a server would: Started, InProgress while it runs, then Replayed, or Started
 * again after an Abort. The operators' methods are UNIMPLEMENTED.
 */
public final class FakeClient extends Client {
  private final FakeServer server;

  /** A call that a fake got. */
  public record Call(String method, String endpoint, String key) {}

  public FakeClient() {
    this(ClientOptions.builder());
  }

  /** A fake with other timeouts or another tenant. */
  public FakeClient(ClientOptions.Builder options) {
    this(options, new FakeServer());
  }

  private FakeClient(ClientOptions.Builder options, FakeServer server) {
    super(options.transport(server).build());
    this.server = server;
  }

  /** Says what the next Begins of a key come to, one after the other; the last one stays. */
  public FakeClient script(String endpoint, String key, FakeDecision... decisions) {
    server.script(endpoint, key, List.of(decisions));
    return this;
  }

  /** What was called so far, in order. */
  public List<Call> calls() {
    return server.calls();
  }
}
