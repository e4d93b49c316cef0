package dev.semel.client;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.semel.v1.Key;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.Set;

/**
 * An attempt on its way to another process. It holds the idempotency key: keep it where keys are
 * kept.
 *
 * @param attempt the number of the attempt
 */
public record Handoff(
    String tenant,
    String endpoint,
    String key,
    long fence,
    int attempt,
    String attemptId,
    Duration lease) {
  private static final int VERSION = 1;
  private static final Set<String> MEMBERS =
      Set.of("attempt", "attempt_id", "endpoint", "fence", "key", "lease_ms", "tenant", "v");

  /** The form that every language reads. */
  public String serialize() {
    ObjectNode members = JsonNodeFactory.instance.objectNode();
    members
        .put("attempt", attempt)
        .put("attempt_id", attemptId)
        .put("endpoint", endpoint)
        .put("fence", fence)
        .put("key", key);
    members.put("lease_ms", lease.toMillis()).put("tenant", tenant).put("v", VERSION);
    return new String(CanonicalJson.canonical(members), StandardCharsets.UTF_8);
  }

  /**
   * Reads what any language wrote.
   *
   * @throws SemelException.Invalid {@code bad_handoff}
   */
  public static Handoff parse(String text) {
    JsonNode read;
    try {
      read = Json.MAPPER.readTree(text);
    } catch (com.fasterxml.jackson.core.JacksonException e) {
      throw bad();
    }
    Set<String> names = new HashSet<>();
    read.fieldNames().forEachRemaining(names::add);
    boolean known =
        names.equals(MEMBERS)
            && read.get("v").isInt()
            && read.get("v").intValue() == VERSION
            && read.get("tenant").isTextual()
            && read.get("endpoint").isTextual()
            && read.get("key").isTextual()
            && read.get("attempt_id").isTextual()
            && isWhole(read.get("fence"))
            && read.get("fence").longValue() >= 1
            && read.get("attempt").isInt()
            && read.get("attempt").intValue() >= 1
            && isWhole(read.get("lease_ms"));
    if (!known) {
      throw bad();
    }
    return new Handoff(
        read.get("tenant").textValue(),
        read.get("endpoint").textValue(),
        read.get("key").textValue(),
        read.get("fence").longValue(),
        read.get("attempt").intValue(),
        read.get("attempt_id").textValue(),
        Duration.ofMillis(read.get("lease_ms").longValue()));
  }

  private static boolean isWhole(JsonNode node) {
    return node.isIntegralNumber() && node.canConvertToLong();
  }

  private static SemelException bad() {
    return SemelException.refused(
        "bad_handoff", "this is no handed-off attempt of a version that this library reads");
  }

  Key protoKey() {
    return Key.newBuilder().setTenant(tenant).setEndpoint(endpoint).setIdempotencyKey(key).build();
  }

  /** As much as may be logged. */
  @Override
  public String toString() {
    return "attempt " + attempt + " of " + endpoint;
  }
}
