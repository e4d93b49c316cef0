package dev.semel.client;

import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializerProvider;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.module.SimpleModule;
import com.fasterxml.jackson.databind.ser.std.StdSerializer;
import java.io.IOException;

/**
 * How this library writes and reads JSON: Jackson, which refuses what JSON cannot say instead of
 * writing it as a text.
 */
final class Json {
  static final ObjectMapper MAPPER =
      JsonMapper.builder()
          .findAndAddModules()
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .addModule(
              new SimpleModule()
                  .addSerializer(Double.class, new Finite<>(Double.class))
                  .addSerializer(double.class, new Finite<>(double.class))
                  .addSerializer(Float.class, new Finite<>(Float.class))
                  .addSerializer(float.class, new Finite<>(float.class)))
          .build();

  private Json() {}

  /** Whether what could not be written is a number that is NaN or infinite, however deep. */
  static boolean isNotFinite(Throwable error) {
    return error instanceof NotFinite || error.getCause() != null && isNotFinite(error.getCause());
  }

  /** A number that is NaN or infinite. */
  static final class NotFinite extends JsonProcessingException {
    private static final long serialVersionUID = 1L;

    NotFinite() {
      super("a number is NaN or infinite, which JSON cannot say");
    }
  }

  private static final class Finite<N extends Number> extends StdSerializer<N> {
    private static final long serialVersionUID = 1L;

    Finite(Class<N> type) {
      super(type);
    }

    @Override
    public void serialize(N value, JsonGenerator into, SerializerProvider provider)
        throws IOException {
      if (!Double.isFinite(value.doubleValue())) {
        throw new NotFinite();
      }
      if (value instanceof Float single) {
        into.writeNumber(single);
      } else {
        into.writeNumber(value.doubleValue());
      }
    }
  }
}
