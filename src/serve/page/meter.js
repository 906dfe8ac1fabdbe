/// Bytes per second, the mean of some seconds.
export class Meter {
  bytesPerSecond = null;

  /// So many bytes in so many seconds.
  add(bytes, seconds) {
    if (!(seconds > 0)) return;
    const now = bytes / seconds;
    const old = this.bytesPerSecond ?? now;
    this.bytesPerSecond = now + (old - now) * Math.exp(-seconds / 4);
  }
}
