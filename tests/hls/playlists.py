#!/usr/bin/env python3
"""What the package m3u8 reads in HLS playlists, as JSON: playlists.py FILE

FILE is a JSON list of texts.
"""

import json
import sys

import m3u8


def millis(at):
    return None if at is None else round(at.timestamp() * 1000)


def part(found):
    return [found.uri, found.duration, found.independent == "YES"]


def read(text):
    try:
        found = m3u8.loads(text)
    except Exception as error:  # whatever it does not like
        return {"complaints": [repr(error)]}
    if found.is_variant:
        return {
            "complaints": [],
            "variants": [
                {
                    "uri": variant.uri,
                    "bandwidth": variant.stream_info.bandwidth,
                    "codecs": variant.stream_info.codecs,
                    "width": (variant.stream_info.resolution or [None])[0],
                    "audio": [media.uri for media in variant.media if media.type == "AUDIO"],
                    "captions": [
                        media.instream_id
                        for media in found.media
                        if media.type == "CLOSED-CAPTIONS"
                    ],
                }
                for variant in found.playlists
            ],
        }
    whole = [segment for segment in found.segments if segment.uri]
    rest = [segment for segment in found.segments if not segment.uri]
    return {
        "complaints": [],
        "sequence": found.media_sequence,
        "discontinuity_sequence": found.discontinuity_sequence or 0,
        "target": found.target_duration,
        "part_target": getattr(found.part_inf, "part_target", None),
        "skipped": found.skip.skipped_segments if found.skip else 0,
        "ended": found.is_endlist,
        "segments": [
            {
                "uri": segment.uri,
                "duration": segment.duration,
                "discontinuity": segment.discontinuity,
                "gap": bool(segment.gap_tag),
                "map": segment.init_section.uri if segment.init_section else None,
                "date_time": millis(segment.program_date_time),
                "parts": [part(found) for found in segment.parts],
            }
            for segment in whole
        ],
        "open": [part(found) for segment in rest for found in segment.parts],
        "hint": found.preload_hint.uri if found.preload_hint else None,
    }


with open(sys.argv[1], encoding="utf-8") as file:
    print(json.dumps([read(text) for text in json.load(file)]))
