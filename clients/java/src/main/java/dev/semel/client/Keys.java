package dev.semel.client;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Makers of idempotency keys: the same for every retry of one logical operation, and for nothing
 * else. Any text of 1 to 255 bytes of UTF-8 is a key. Each throws {@link SemelException.Invalid}
 * with the name of what is wrong as its reason.
 */
public final class Keys {
  private static final int MOST_BYTES = 255;
  private static final Pattern ANY_UUID =
      Pattern.compile(
          "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}");
  private static final Pattern UUID_4_OR_7 =
      Pattern.compile(
          "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[47][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}");
  private static final Pattern MAIL =
      Pattern.compile("[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*\\.[A-Za-z]{2,}");
  private static final Pattern DIGITS =
      Pattern.compile("(?<![A-Za-z0-9])[0-9](?:[ -]?[0-9])*+(?![A-Za-z0-9])");
  private static final Pattern CARD = Pattern.compile("[2-6][0-9]{12,18}");
  private static final SecureRandom RANDOM = new SecureRandom();

  private Keys() {}

  /** What a key looks like that it should not be: keys are stored, and operators see them. */
  public enum Warning {
    MAIL_ADDRESS,
    CARD_NUMBER;

    /** The name in all languages. */
    public String word() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** The text as it is. */
  public static String of(String text) {
    check(text);
    return text;
  }

  /** A random key (UUID version 4). */
  public static String uuid4() {
    return UUID.randomUUID().toString();
  }

  /** A key that begins with the time (UUID version 7). */
  public static String uuid7() {
    byte[] bytes = new byte[16];
    RANDOM.nextBytes(bytes);
    long now = System.currentTimeMillis();
    for (int i = 0; i < 6; i++) {
      bytes[i] = (byte) (now >>> (8 * (5 - i)));
    }
    return uuidText(bytes, 7);
  }

  /** A UUID of version 4 or 7 in its 36-character form, in lower case. */
  public static String uuid(String text) {
    if (!UUID_4_OR_7.matcher(text).matches()) {
      throw SemelException.refused("not_a_uuid", "the key is no UUID of version 4 or 7");
    }
    return text.toLowerCase(Locale.ROOT);
  }

  /**
   * What an operation is called in the business: {@code business("order", "42")} is {@code
   * order:42}.
   */
  public static String business(String kind, String... parts) {
    List<String> all = Stream.concat(Stream.of(kind), Stream.of(parts)).toList();
    if (parts.length == 0 || all.contains("")) {
      throw SemelException.refused(
          "empty_part", "a business key has a kind and parts, and none is empty");
    }
    return of(
        String.join(
            ":", all.stream().map(part -> part.replace("%", "%25").replace(":", "%3A")).toList()));
  }

  /**
   * For an event that carries no key, such as a CloudEvent. It is as good as its source's ids are.
   */
  public static String event(String source, String type, String id) {
    for (String part : List.of(source, type, id)) {
      if (part.isEmpty()) {
        throw SemelException.refused("empty_part", "an event has a source, a type and an id");
      }
      wellFormed(part, "a part of the event");
    }
    return "evt1_" + HexFormat.of().formatHex(Joined.EVENT_KEY.hash(source, type, id));
  }

  /**
   * A guess, made of what is asked for. Two honest equal requests within one window become one; a
   * retry that crosses the window's edge runs a second time. Ask for a real key wherever you can.
   *
   * @param window whole seconds, at least 1
   */
  public static String content(Request request, Duration window, Instant at) {
    long seconds = window.getSeconds();
    if (seconds < 1 || window.getNano() != 0 || at.getEpochSecond() < 0) {
      throw SemelException.refused(
          "bad_window", "the window is whole seconds, at least 1, and its time not before 1970");
    }
    Request.Content content = request.content();
    if (content.kind().equals("none")) {
      throw SemelException.refused("empty_part", "there is no request to make a key of");
    }
    String place = Long.toString(at.getEpochSecond() / seconds);
    List<byte[]> parts =
        new ArrayList<>(
            Stream.of(Long.toString(seconds), place, content.kind()).map(Joined::utf8).toList());
    parts.add(content.body());
    return "cnt1_" + HexFormat.of().formatHex(Joined.CONTENT_KEY.hash(parts));
  }

  /** Refuses what cannot be a key: {@code empty}, {@code too_long}, {@code lone_surrogate}. */
  public static void check(String key) {
    if (key.isEmpty()) {
      throw SemelException.refused("empty", "the key is empty");
    }
    wellFormed(key, "the key");
    int bytes = key.getBytes(StandardCharsets.UTF_8).length;
    if (bytes > MOST_BYTES) {
      throw SemelException.refused(
          "too_long",
          "the key has " + bytes + " bytes, and at most " + MOST_BYTES + " are allowed");
    }
  }

  private static void wellFormed(String text, String what) {
    if (!CanonicalJson.isWellFormed(text)) {
      throw SemelException.refused("lone_surrogate", what + " has half of a surrogate pair");
    }
  }

  /** What the key looks like that it should not be. */
  public static List<Warning> warnings(String key) {
    List<Warning> found = new ArrayList<>();
    if (ANY_UUID.matcher(key).matches()) {
      return found;
    }
    if (MAIL.matcher(key).find()) {
      found.add(Warning.MAIL_ADDRESS);
    }
    Matcher runs = DIGITS.matcher(key);
    while (runs.find()) {
      boolean longest = !precedesDigit(key, runs.start());
      if (longest && isCard(runs.group().replaceAll("[ -]", ""))) {
        found.add(Warning.CARD_NUMBER);
        break;
      }
    }
    return found;
  }

  /** Whether the run is the rest of a longer one, of which a separator alone stands before it. */
  private static boolean precedesDigit(String key, int start) {
    return start >= 2
        && " -".indexOf(key.charAt(start - 1)) >= 0
        && Character.digit(key.charAt(start - 2), 10) >= 0
        && key.charAt(start - 2) < 128;
  }

  private static boolean isCard(String number) {
    if (!CARD.matcher(number).matches()) {
      return false;
    }
    int sum = 0;
    for (int i = 0; i < number.length(); i++) {
      int digit = number.charAt(number.length() - 1 - i) - '0';
      int doubled = i % 2 == 1 ? 2 * digit : digit;
      sum += doubled > 9 ? doubled - 9 : doubled;
    }
    return sum % 10 == 0;
  }

  /**
   * The key for a call further down: the same in every attempt of one key, and another for
   * everything else.
   */
  static String derived(String tenant, String endpoint, String key, String step) {
    if (step.isEmpty()) {
      throw SemelException.refused("empty_part", "the step of a derived key is empty");
    }
    wellFormed(step, "the step of a derived key");
    return uuidText(Joined.DERIVED_KEY.hash(tenant, endpoint, key, step), 8);
  }

  private static String uuidText(byte[] bytes, int version) {
    bytes[6] = (byte) (bytes[6] & 0x0f | version << 4);
    bytes[8] = (byte) (bytes[8] & 0x3f | 0x80);
    ByteBuffer read = ByteBuffer.wrap(bytes);
    return new UUID(read.getLong(), read.getLong()).toString();
  }
}
