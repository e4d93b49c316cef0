package dev.semel.client;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * What a key stands for: a later call with the same key and another request is refused with {@link
 * SemelException.KeyMismatch}. {@link #none} is compared with nothing.
 */
public final class Request {
  private static final Request NONE =
      new Request(() -> new Content("none", new byte[0]), "", "", List.of());

  private final Supplier<Content> content;
  private final String method;
  private final String path;
  private final List<Map.Entry<String, String>> headers;

  private Request(
      Supplier<Content> content,
      String method,
      String path,
      List<Map.Entry<String, String>> headers) {
    this.content = content;
    this.method = method;
    this.path = path;
    this.headers = headers;
  }

  /** The kind of a body, and its canonical bytes. */
  record Content(String kind, byte[] body) {}

  /** No request: nothing is compared. */
  public static Request none() {
    return NONE;
  }

  /** A value as Jackson writes it; members at the ignored JSON pointers are left out. */
  public static Request json(Object value, String... ignore) {
    List<String> pointers = List.of(ignore);
    return new Request(
        () -> new Content("json", CanonicalJson.of(written(value), pointers)), "", "", List.of());
  }

  private static String written(Object value) {
    try {
      return Json.MAPPER.writeValueAsString(value);
    } catch (JsonProcessingException e) {
      throw Json.isNotFinite(e)
          ? SemelException.refused("not_finite", "a number of the request is NaN or infinite")
          : SemelException.refused(
              "not_json", "the request cannot be written as JSON: " + value.getClass().getName());
    }
  }

  /** JSON text. */
  public static Request jsonText(String text, String... ignore) {
    List<String> pointers = List.of(ignore);
    return new Request(
        () -> new Content("json", CanonicalJson.of(text, pointers)), "", "", List.of());
  }

  /** JSON in UTF-8. */
  public static Request jsonText(byte[] text, String... ignore) {
    byte[] copy = text.clone();
    List<String> pointers = List.of(ignore);
    return new Request(
        () -> new Content("json", CanonicalJson.of(copy, pointers)), "", "", List.of());
  }

  /** Bytes, compared byte for byte. */
  public static Request raw(byte[] bytes) {
    return raw(bytes, new String[0]);
  }

  /** What a caller says of ignored fields goes with JSON alone. */
  static Request raw(byte[] bytes, String[] ignore) {
    if (ignore.length > 0) {
      throw SemelException.refused("bad_pointer", "ignored fields are for JSON alone");
    }
    byte[] copy = bytes.clone();
    return new Request(() -> new Content("raw", copy), "", "", List.of());
  }

  /**
   * A request with its method, its path and those of its headers that matter; the body is one of
   * the others.
   */
  public static Request http(
      String method, String path, List<Map.Entry<String, String>> headers, Request body) {
    return new Request(body.content, method, path, List.copyOf(headers));
  }

  Content content() {
    return content.get();
  }

  /**
   * The SHA-256 digest of the request, the same in every language.
   *
   * @throws SemelException.Invalid what cannot be hashed alike everywhere, such as {@code
   *     integer_too_large}
   */
  public byte[] fingerprint() {
    Content body = content.get();
    List<Map.Entry<byte[], byte[]>> sorted = new ArrayList<>();
    for (Map.Entry<String, String> header : headers) {
      if (header.getKey().isEmpty()) {
        throw SemelException.refused("empty_part", "a header of the request has no name");
      }
      sorted.add(
          Map.entry(
              Joined.utf8(lowerAscii(header.getKey())), Joined.utf8(trimmed(header.getValue()))));
    }
    sorted.sort(Map.Entry.comparingByKey(Comparator.nullsFirst(java.util.Arrays::compareUnsigned)));
    List<byte[]> parts =
        new ArrayList<>(
            List.of(Joined.utf8(method), Joined.utf8(path), Joined.utf8(body.kind), body.body));
    for (Map.Entry<byte[], byte[]> header : sorted) {
      parts.add(header.getKey());
      parts.add(header.getValue());
    }
    return Joined.FINGERPRINT.hash(parts);
  }

  static String lowerAscii(String text) {
    StringBuilder lower = new StringBuilder(text);
    for (int i = 0; i < lower.length(); i++) {
      char c = lower.charAt(i);
      if (c >= 'A' && c <= 'Z') {
        lower.setCharAt(i, (char) (c + 'a' - 'A'));
      }
    }
    return lower.toString();
  }

  private static String trimmed(String value) {
    return value.replaceAll("^[ \t]+|[ \t]+$", "");
  }
}
