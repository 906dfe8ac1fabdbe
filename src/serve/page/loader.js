// What feeds mpegts.js. It has a loader of its own, but that throws away what a refusal says, and to ask
// for that once more is to be refused, counted and logged once more.
import { reasonIn } from "./refusal.js";

/// A class for `customLoader` of a player by HTTP. Its errors are told as mpegts.js tells them:
/// a status that is none of success, with `code` and with why as `msg`; an exception, if nobody
/// answered; an early end, if the stream broke off.
export function streamLoader({ BaseLoader, LoaderErrors, LoaderStatus }) {
  return class extends BaseLoader {
    constructor(_, config) {
      super("stream-loader");
      this._needStash = true;
      this.referrerPolicy = config.referrerPolicy;
      this.over = new AbortController();
    }

    open({ url }) {
      this.read(url);
    }

    abort() {
      this._status = LoaderStatus.kComplete;
      this.over.abort();
    }

    destroy() {
      this.abort();
      super.destroy();
    }

    async read(url) {
      const { signal } = this.over;
      let failing = LoaderErrors.EXCEPTION;
      this._status = LoaderStatus.kConnecting;
      try {
        const { referrerPolicy } = this;
        const response = await fetch(url, { cache: "no-store", referrerPolicy, signal });
        if (!response.ok) {
          const msg = reasonIn(await response.text(), response.statusText);
          return this.fail(LoaderErrors.HTTP_STATUS_CODE_INVALID, { code: response.status, msg });
        }
        failing = LoaderErrors.UNRECOVERABLE_EARLY_EOF;
        const reader = response.body.getReader();
        let read = 0;
        for (;;) {
          const { done, value } = await reader.read();
          // Whom it was read for is gone.
          if (signal.aborted) return;
          if (done) break;
          this._status = LoaderStatus.kBuffering;
          const from = read;
          read += value.byteLength;
          this._onDataArrival(value.buffer, from, read);
        }
        this._status = LoaderStatus.kComplete;
        this._onComplete(0, read - 1);
      } catch (problem) {
        this.fail(failing, { code: -1, msg: problem.message });
      }
    }

    fail(error, info) {
      if (this.over.signal.aborted) return;
      this._status = LoaderStatus.kError;
      this._onError(error, info);
    }
  };
}
