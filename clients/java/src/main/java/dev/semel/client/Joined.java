package dev.semel.client;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;

/** The one layout in which parts are hashed: clients/vectors/README.md. */
enum Joined {
  FINGERPRINT(0x01),
  DERIVED_KEY(0x02),
  EVENT_KEY(0x03),
  CONTENT_KEY(0x04);

  private static final byte VERSION = 0x01;

  private final byte purpose;

  Joined(int purpose) {
    this.purpose = (byte) purpose;
  }

  byte[] hash(List<byte[]> parts) {
    MessageDigest digest;
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java has SHA-256", e);
    }
    digest.update(VERSION);
    digest.update(purpose);
    for (byte[] part : parts) {
      digest.update(ByteBuffer.allocate(Long.BYTES).putLong(part.length).array());
      digest.update(part);
    }
    return digest.digest();
  }

  byte[] hash(String... parts) {
    return hash(List.of(parts).stream().map(Joined::utf8).toList());
  }

  static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
