package dev.semel.client;

import com.fasterxml.jackson.annotation.JsonInclude;
import java.util.Objects;

/**
 * A final failure, such as a declined card.
 *
 * @param type what kind of failure it is
 * @param message for people
 * @param code the operation's own code: an HTTP status, a gRPC code
 * @param details any value of JSON, or null
 */
public record Failure(
    String type,
    String message,
    int code,
    @JsonInclude(JsonInclude.Include.NON_NULL) Object details) {
  /** The content type of stored failures, which every language reads. */
  public static final String CONTENT_TYPE = "application/vnd.semel.failure+json";

  public Failure {
    type = type == null || type.isEmpty() ? "unknown" : type;
    message = Objects.requireNonNullElse(message, "");
  }
}
