// What mp4box.js reads in an MP4 file, as JSON: mp4.mjs FILE
// Whatever the parser complains of is told too.

import {readFileSync} from 'node:fs';
import {createFile, Log} from 'mp4box';

const complaints = [];
for (const level of ['warn', 'error']) {
  Log[level] = (...words) => complaints.push(words.join(' '));
}

const KEEP_SAMPLES = true;
const file = createFile(KEEP_SAMPLES);
const samples = new Map();
let info = null;
file.onError = (...words) => complaints.push(words.join(' '));
file.onReady = (found) => {
  info = found;
  for (const track of found.tracks) {
    samples.set(track.id, []);
    file.setExtractionOptions(track.id, null, {nbSamples: 1});
  }
  file.start();
};
file.onSamples = (id, _user, found) => {
  for (const {dts, cts, duration, is_sync, size, data} of found) {
    samples.get(id).push({dts, cts, duration, is_sync, whole: data.length === size});
  }
};

const bytes = new Uint8Array(readFileSync(process.argv[2])).buffer;
bytes.fileStart = 0;
file.appendBuffer(bytes, true);
file.flush();

const tracks = (info?.tracks ?? []).map(({id, codec, timescale, type}) => {
  return {id, codec, timescale, type, samples: samples.get(id)};
});
process.stdout.write(JSON.stringify({fragmented: info?.isFragmented, tracks, complaints}));
