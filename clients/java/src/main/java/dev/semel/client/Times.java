package dev.semel.client;

import com.google.protobuf.Timestamp;
import java.time.Duration;
import java.time.Instant;

/** Lengths of time and moments, as protobuf writes them. */
final class Times {
  private Times() {}

  static Duration read(com.google.protobuf.Duration length) {
    return Duration.ofSeconds(length.getSeconds(), length.getNanos());
  }

  static com.google.protobuf.Duration write(Duration length) {
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(length.getSeconds())
        .setNanos(length.getNano())
        .build();
  }

  static Instant read(Timestamp moment) {
    return Instant.ofEpochSecond(moment.getSeconds(), moment.getNanos());
  }

  static Timestamp write(Instant moment) {
    return Timestamp.newBuilder()
        .setSeconds(moment.getEpochSecond())
        .setNanos(moment.getNano())
        .build();
  }

  static Duration shorter(Duration a, Duration b) {
    return a.compareTo(b) <= 0 ? a : b;
  }

  /** What is left until a moment of the monotonic clock. */
  static Duration until(long nanoTime) {
    return Duration.ofNanos(nanoTime - System.nanoTime());
  }
}
