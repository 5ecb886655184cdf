package dev.placet.client;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;

/**
 * A token in a file that others renew, such as a projected service account token. The file is read
 * again when it has changed; while it cannot be read, the last token goes on.
 */
public final class TokenFile implements TokenSource {

  private record Read(FileTime modified, long size, Object key, String token) {}

  private final Path path;
  private volatile Read read;

  /**
   * Takes the token from a file.
   *
   * @param path the file
   * @throws PlacetException with {@code INVALID_ARGUMENT}, if it cannot be read now
   */
  public TokenFile(Path path) {
    this.path = path;
    try {
      token();
    } catch (IOException unreadable) {
      throw Values.refusal("token", "is in `" + path + "`, which cannot be read: " + unreadable);
    }
  }

  @Override
  public String token() throws IOException {
    Read known = read;
    try {
      var found = Files.readAttributes(path, BasicFileAttributes.class);
      boolean isTheSame =
          known != null
              && known.modified().equals(found.lastModifiedTime())
              && known.size() == found.size()
              && (known.key() == null || known.key().equals(found.fileKey()));
      if (!isTheSame) {
        String token = Files.readString(path).strip();
        known = new Read(found.lastModifiedTime(), found.size(), found.fileKey(), token);
        read = known;
      }
    } catch (IOException unreadable) {
      if (known == null) {
        throw unreadable;
      }
    }
    return known.token();
  }
}
