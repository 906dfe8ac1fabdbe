#!/bin/sh
# Makes clip.flv, the stream that `corecast demo` publishes in a loop.
#
# Needs ffmpeg 5 or newer with libx264, and one font: on Debian
# `apt install ffmpeg fonts-dejavu-core`. Run it anywhere; it writes beside itself.
#
# The clip lasts 10.24 s because that is a whole number of everything: 256 pictures at 25 Hz,
# 480 AAC frames of 1024 samples at 48 kHz, 8 groups of 32 pictures (a key frame each 1.28 s)
# and 16 notes of 0.64 s. So the loop adds 10240 ms to each timestamp of either track and neither
# drifts. No B-frames: pts equals dts. The colours come back to where they began, and the dot in
# the corner lights up with each note, so that eye and ear can judge whether both are in step.
# The first AAC packet is the encoder's priming, before time zero: it is dropped.
set -eu
cd "$(dirname "$0")"

font=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
mono=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf
length=10.24

# A slow tide of blues and violets, computed small and scaled up: it has no detail to lose.
turn="2*PI*T/$length"
tide="color=black:size=160x90:rate=25:duration=$length,format=gbrp,geq=\
r='40+24*sin($turn+3*X/W+2*Y/H)':\
g='58+20*sin($turn-2*X/W+3*Y/H+2)':\
b='108+34*sin($turn+2*X/W-3*Y/H+4)',scale=640:360:flags=bicubic,format=yuv420p"

# Seconds and hundredths; the sweep below crosses the picture once per note.
clock='%{eif\:floor(n/25)\:d\:2}.%{eif\:mod(n\,25)*4\:d\:2}'

# Steps of a pentatonic scale above C4, one per note, each a soft bell.
step='st(0,mod(floor(t/0.64),8));st(1,
    eq(ld(0),1)*4+eq(ld(0),2)*7+eq(ld(0),3)*9+eq(ld(0),4)*12+eq(ld(0),5)*9+eq(ld(0),6)*7+eq(ld(0),7)*2)'
bell='st(2,mod(t,0.64));0.22*exp(-5*ld(2))*min(1,ld(2)/0.008)*min(1,(0.64-ld(2))/0.02)
    *(sin(2*PI*261.63*pow(2,ld(1)/12)*ld(2))+0.25*sin(4*PI*261.63*pow(2,ld(1)/12)*ld(2)))'

ffmpeg -v warning -y \
    -f lavfi -i "$tide" \
    -f lavfi -i "color=white:size=96x3:rate=25:duration=$length" \
    -f lavfi -i "aevalsrc='$step;$bell':sample_rate=48000:channel_layout=mono:duration=$length" \
    -filter_complex "
        [0:v]
        drawtext=fontfile=$font:text='Corecast':fontsize=26:fontcolor=white@0.92:x=36:y=30,
        drawtext=fontfile=$font:text='demo clip, 10 s in a loop':fontsize=15:fontcolor=white@0.65:x=36:y=64,
        drawtext=fontfile=$mono:text='$clock':fontsize=92:fontcolor=white:x=(w-text_w)/2:y=(h-text_h)/2,
        drawtext=fontfile=$font:text='picture %{eif\:n\:d\:3} of 256':fontsize=15:fontcolor=white@0.65:x=36:y=h-46,
        drawtext=fontfile=$font:text='●':fontsize=30:fontcolor=white:x=w-66:y=28:enable='lt(mod(n,16),4)'
        [scene];
        [scene][1:v] overlay=x='-96+mod(n,16)/16*(W+96)':y=H-14:shortest=1 [picture]" \
    -map '[picture]' -map 2:a \
    -c:v libx264 -profile:v high -preset veryslow -pix_fmt yuv420p \
    -g 32 -keyint_min 32 -sc_threshold 0 -bf 0 -crf 25 -maxrate 320k -bufsize 320k -threads 1 \
    -c:a aac -b:a 48k -ac 1 \
    -bsf:v 'filter_units=remove_types=6' -bsf:a 'noise=drop=eq(n\,0):amount=0' \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    -flvflags no_duration_filesize -f flv clip.flv

ls -l clip.flv
