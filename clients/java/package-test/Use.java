// A user's program, in a project of its own.
import dev.semel.client.Client;
import dev.semel.client.ClientOptions;
import dev.semel.client.Codec;
import dev.semel.client.Outcome;
import dev.semel.client.Request;
import dev.semel.client.testing.TestServer;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;

public final class Use {
  record Receipt(String id) {}

  public static void main(String[] arguments) throws Exception {
    AtomicInteger runs = new AtomicInteger();
    try (TestServer server = TestServer.start();
        Client client = new Client(ClientOptions.builder().address(server.address()).build())) {
      for (boolean replayed : new boolean[] {false, true}) {
        Outcome<Receipt> outcome =
            client.once(
                "payments/Charge",
                "order-42",
                Request.json(Map.of("amount", 1250)),
                Codec.json(Receipt.class),
                attempt -> new Receipt("ch_" + runs.incrementAndGet() + "_" + attempt.derivedKey("capture").length()));
        if (!outcome.value().id().equals("ch_1_36") || outcome.replayed() != replayed) {
          throw new AssertionError("the package does not do what its README says: " + outcome);
        }
      }
    }
    for (String resource : new String[] {"/META-INF/LICENSE", "/dev/semel/client/service_config.json"}) {
      if (Client.class.getResource(resource) == null) {
        throw new AssertionError("the jar lacks " + resource);
      }
    }
    System.out.println(Client.VERSION + ": ran once, replayed once");
  }
}
