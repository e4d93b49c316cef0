package dev.semel.client;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.erdtman.jcs.JsonCanonicalizer;

/** Reads JSON strictly, removes members, and writes the rest by RFC 8785. */
final class CanonicalJson {
  private static final int MOST_DEPTH = 100;
  private static final long SAFE_INTEGER = (1L << 53) - 1;
  private static final Pattern WRONG_ESCAPE = Pattern.compile("~(?![01])");
  private static final Pattern INDEX = Pattern.compile("0|[1-9][0-9]{0,9}");

  /** An escape: a whole surrogate pair, half of one, or any other. */
  private static final Pattern ESCAPE =
      Pattern.compile(
          "\\\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2})|u([dD][89a-fA-F][0-9a-fA-F]{2})|.)");

  /** Bounds of our own are checked here, by their names; the parser's are out of the way. */
  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxNestingDepth(Integer.MAX_VALUE)
                  .maxNumberLength(Integer.MAX_VALUE)
                  .maxStringLength(Integer.MAX_VALUE)
                  .maxNameLength(Integer.MAX_VALUE)
                  .build())
          .build();

  private CanonicalJson() {}

  static byte[] of(byte[] bytes, List<String> ignore) {
    String text;
    try {
      text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw notJson();
    }
    return of(text, ignore);
  }

  static byte[] of(String text, List<String> ignore) {
    JsonNode document = read(text);
    remove(document, ignore);
    return canonical(document);
  }

  /** Writes a value of JSON by RFC 8785. */
  static byte[] canonical(JsonNode document) {
    try {
      // The canonicalizer takes objects and arrays alone: what is within an array is written as it
      // is by itself.
      byte[] within = new JsonCanonicalizer("[" + document + "]").getEncodedUTF8();
      return Arrays.copyOfRange(within, 1, within.length - 1);
    } catch (IOException e) {
      throw notJson();
    }
  }

  private static SemelException notJson() {
    return SemelException.refused("not_json", "the request is not one JSON value in UTF-8");
  }

  static JsonNode read(String text) {
    if (text.startsWith("\uFEFF")) {
      throw notJson();
    }
    String whole = withoutLoneEscapes(text);
    JsonNode document = parse(whole);
    if (!whole.equals(text)) {
      throw SemelException.refused(
          "lone_surrogate", "a text of the request has half of a surrogate pair");
    }
    return document;
  }

  /**
   * Half a pair that is written as an escape becomes a letter: the parser takes some of them for
   * wrong syntax, and not others.
   */
  private static String withoutLoneEscapes(String text) {
    StringBuilder whole = new StringBuilder(text);
    Matcher escapes = ESCAPE.matcher(text);
    while (escapes.find()) {
      boolean isPair = escapes.group(1) != null;
      boolean isHalf = escapes.group(2) != null;
      if (isHalf && !isPair) {
        whole.replace(escapes.start(2), escapes.end(2), "0041");
      }
    }
    return whole.toString();
  }

  private static JsonNode parse(String text) {
    try (JsonParser parser = FACTORY.createParser(text)) {
      if (parser.nextToken() == null) {
        throw notJson();
      }
      JsonNode document = value(parser, 0);
      if (parser.nextToken() != null) {
        throw notJson();
      }
      return document;
    } catch (JacksonException e) {
      throw notJson();
    } catch (IOException e) {
      throw notJson();
    }
  }

  private static JsonNode value(JsonParser parser, int depth) throws IOException {
    JsonNodeFactory nodes = JsonNodeFactory.instance;
    JsonToken token = parser.currentToken();
    if (token == null) {
      throw notJson();
    }
    return switch (token) {
      case START_OBJECT -> members(parser, deeper(depth));
      case START_ARRAY -> elements(parser, deeper(depth));
      case VALUE_STRING -> nodes.textNode(wellFormed(parser.getText()));
      case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> nodes.numberNode(number(parser.getText()));
      case VALUE_TRUE -> nodes.booleanNode(true);
      case VALUE_FALSE -> nodes.booleanNode(false);
      case VALUE_NULL -> nodes.nullNode();
      default -> throw notJson();
    };
  }

  private static int deeper(int depth) {
    if (depth == MOST_DEPTH) {
      throw SemelException.refused(
          "too_deep", "the request has more than 100 arrays and objects within each other");
    }
    return depth + 1;
  }

  private static ObjectNode members(JsonParser parser, int depth) throws IOException {
    ObjectNode object = JsonNodeFactory.instance.objectNode();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String name = wellFormed(parser.currentName());
      parser.nextToken();
      JsonNode member = value(parser, depth);
      if (object.replace(name, member) != null) {
        throw SemelException.refused(
            "duplicate_name", "an object of the request has two members of one name");
      }
    }
    return object;
  }

  private static ArrayNode elements(JsonParser parser, int depth) throws IOException {
    ArrayNode array = JsonNodeFactory.instance.arrayNode();
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      array.add(value(parser, depth));
    }
    return array;
  }

  private static String wellFormed(String text) {
    if (!isWellFormed(text)) {
      throw SemelException.refused(
          "lone_surrogate", "a text of the request has half of a surrogate pair");
    }
    return text;
  }

  /** Whether a text has no half of a surrogate pair. */
  static boolean isWellFormed(String text) {
    return StandardCharsets.UTF_8.newEncoder().canEncode(text);
  }

  private static double number(String text) {
    double value = Double.parseDouble(text);
    if (text.contains(".") || text.contains("e") || text.contains("E")) {
      if (Double.isInfinite(value)) {
        throw SemelException.refused("not_finite", "a number of the request is beyond a double");
      }
    } else if (Math.abs(value) > SAFE_INTEGER) {
      throw SemelException.refused(
          "integer_too_large", "an integer of the request is beyond 2^53 - 1: send it as a text");
    }
    return value;
  }

  private record Doomed(ObjectNode members, String name) {}

  /** Removes the members that JSON pointers (RFC 6901) name. All are looked up before any goes. */
  private static void remove(JsonNode document, List<String> pointers) {
    List<Doomed> doomed = new ArrayList<>();
    for (String pointer : pointers) {
      if (!pointer.startsWith("/") || WRONG_ESCAPE.matcher(pointer).find()) {
        throw SemelException.refused(
            "bad_pointer",
            "an ignored field is no JSON pointer: it begins with /, and ~ is written ~0");
      }
      String[] tokens = pointer.substring(1).split("/", -1);
      JsonNode place = document;
      for (int i = 0; i < tokens.length; i++) {
        String token = tokens[i].replace("~1", "/").replace("~0", "~");
        boolean last = i == tokens.length - 1;
        if (last && place instanceof ArrayNode) {
          throw SemelException.refused("bad_pointer", "an ignored field is an element of an array");
        }
        if (last && place instanceof ObjectNode members) {
          doomed.add(new Doomed(members, token));
        }
        place = step(place, token);
      }
    }
    doomed.forEach(each -> each.members.remove(each.name));
  }

  private static JsonNode step(JsonNode place, String token) {
    if (place instanceof ArrayNode array) {
      return INDEX.matcher(token).matches() && Long.parseLong(token) < array.size()
          ? array.get(Integer.parseInt(token))
          : null;
    }
    return place instanceof ObjectNode object ? object.get(token) : null;
  }
}
