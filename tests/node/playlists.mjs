// What two parsers read in HLS playlists, as JSON: playlists.mjs FILE
// FILE is a JSON list of texts. For each text comes what hls-parser reads, in its strict mode, and what
// m3u8-parser reads, with all that they complain of.

import {readFileSync} from 'node:fs';
import hls from 'hls-parser';
import {Parser} from 'm3u8-parser';

hls.setOptions({strictMode: true});

const part = ({uri, duration, independent}) => [uri, duration, !!independent];

function byHlsParser(text) {
  let read;
  try {
    read = hls.parse(text);
  } catch (error) {
    return {complaints: [error.message]};
  }
  if (read.isMasterPlaylist) {
    const variants = read.variants.map((variant) => ({
      uri: variant.uri,
      bandwidth: variant.bandwidth,
      codecs: variant.codecs,
      width: variant.resolution?.width,
      audio: variant.audio.map(({uri}) => uri),
      captions: variant.closedCaptions.map(({instreamId}) => instreamId),
    }));
    return {complaints: [], variants};
  }
  // The segment without an address is the one that is not whole yet.
  const open = read.segments.find(({uri}) => uri === '');
  const parts = open?.parts ?? [];
  return {
    complaints: [],
    sequence: read.mediaSequenceBase,
    discontinuity_sequence: read.discontinuitySequenceBase ?? 0,
    target: read.targetDuration,
    part_target: read.partTargetDuration,
    skipped: read.skip,
    ended: read.endlist,
    segments: read.segments.filter((segment) => segment !== open).map((segment) => ({
      uri: segment.uri,
      duration: segment.duration,
      discontinuity: !!segment.discontinuity,
      gap: !!segment.gap,
      map: segment.map?.uri ?? null,
      date_time: segment.programDateTime?.getTime() ?? null,
      parts: segment.parts.map(part),
    })),
    open: parts.filter(({hint}) => !hint).map(part),
    hint: parts.find(({hint}) => hint)?.uri ?? null,
  };
}

function byM3u8Parser(text) {
  const complaints = [];
  const parser = new Parser();
  for (const kind of ['warn', 'error']) {
    parser.on(kind, ({message}) => complaints.push(message));
  }
  parser.push(text);
  parser.end();
  const read = parser.manifest;
  if (read.playlists) {
    const group = (kind, name) => Object.values(read.mediaGroups?.[kind]?.[name] ?? {});
    const variants = read.playlists.map(({uri, attributes}) => ({
      uri,
      bandwidth: attributes.BANDWIDTH,
      codecs: attributes.CODECS,
      width: attributes.RESOLUTION?.width,
      audio: group('AUDIO', attributes.AUDIO).map(({uri}) => uri),
      captions: group('CLOSED-CAPTIONS', attributes['CLOSED-CAPTIONS']).map(({instreamId}) => instreamId),
    }));
    return {complaints, variants};
  }
  return {
    complaints,
    sequence: read.mediaSequence,
    discontinuity_sequence: read.discontinuitySequence,
    target: read.targetDuration,
    part_target: read.partTargetDuration,
    skipped: read.skip?.skippedSegments ?? 0,
    ended: !!read.endList,
    segments: read.segments.map((segment) => ({
      uri: segment.uri,
      duration: segment.duration,
      discontinuity: !!segment.discontinuity,
      map: segment.map?.uri ?? null,
      date_time: segment.dateTimeObject?.getTime() ?? null,
      parts: (segment.parts ?? []).map(part),
    })),
    open: (read.preloadSegment?.parts ?? []).map(part),
    hint: read.preloadSegment?.preloadHints?.[0]?.uri ?? null,
  };
}

const texts = JSON.parse(readFileSync(process.argv[2], 'utf8'));
process.stdout.write(JSON.stringify(texts.map((text) => {
  return {'hls-parser': byHlsParser(text), 'm3u8-parser': byM3u8Parser(text)};
})));
