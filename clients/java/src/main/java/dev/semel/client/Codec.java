package dev.semel.client;

import com.fasterxml.jackson.core.type.TypeReference;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;

/** How values become results, and are read again. */
public interface Codec<T> {
  /** Names what {@link #encode} writes. */
  String contentType();

  /** Writes what a work returned. */
  byte[] encode(T value) throws Exception;

  /** Reads what is replayed. */
  T decode(byte[] payload) throws Exception;

  /** JSON in UTF-8, by Jackson. */
  static <T> Codec<T> json(Class<T> type) {
    return codec(
        "application/json",
        Json.MAPPER::writeValueAsBytes,
        payload -> Json.MAPPER.readValue(payload, type));
  }

  /**
   * JSON in UTF-8, by Jackson, of a type with parameters: {@code new TypeReference<List<Receipt>>()
   * {}}.
   */
  static <T> Codec<T> json(TypeReference<T> type) {
    return codec(
        "application/json",
        Json.MAPPER::writeValueAsBytes,
        payload -> Json.MAPPER.readValue(payload, type));
  }

  /** Bytes as they are. */
  static Codec<byte[]> bytes() {
    return codec("application/octet-stream", value -> value, payload -> payload);
  }

  /** Messages of the type of an example, such as {@code Receipt.getDefaultInstance()}. */
  @SuppressWarnings("unchecked") // a message's parser gives messages of its type
  static <M extends Message> Codec<M> protobuf(M example) {
    String type =
        "application/x-protobuf; messageType=\""
            + example.getDescriptorForType().getFullName()
            + "\"";
    Parser<M> parser = (Parser<M>) example.getParserForType();
    return codec(type, Message::toByteArray, parser::parseFrom);
  }

  /** A codec of two functions. */
  static <T> Codec<T> codec(
      String contentType, Coding<T, byte[]> encode, Coding<byte[], T> decode) {
    return new Codec<>() {
      @Override
      public String contentType() {
        return contentType;
      }

      @Override
      public byte[] encode(T value) throws Exception {
        return encode.apply(value);
      }

      @Override
      public T decode(byte[] payload) throws Exception {
        return decode.apply(payload);
      }
    };
  }

  /** A function that may fail. */
  @FunctionalInterface
  interface Coding<A, B> {
    B apply(A value) throws Exception;
  }
}
