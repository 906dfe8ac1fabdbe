# Corecast: `make run` shows it, `make test` checks it, `make judges` has foreign programs judge it.
# CARGO_TARGET_DIR is honoured. Every test runs on loopback and stops what it started.

CARGO ?= cargo
# The same selection everywhere, so that nothing is compiled twice.
TEST := $(CARGO) test --locked --workspace
# Tests with foreign programs mostly wait for media in real time, so more run than there are cores.
THREADS ?= 6
FUZZ_SECONDS ?= 300
MINUTES ?= 60
FUZZ_TARGETS = $(basename $(notdir $(wildcard bench/fuzz/fuzz_targets/*.rs)))

.PHONY: help build run test fmt clippy unit lives docs end_to_end load judges realtime strain disks soak \
    bench microbench fuzz deny advisories ci

help:
	@echo 'make run         build, start with a demo stream, print the URLs to open'
	@echo 'make build       the release binary'
	@echo 'make test        style, unit and machine tests, ffmpeg end to end, one browser (minutes)'
	@echo 'make judges      every foreign program against the server (about half an hour)'
	@echo 'make lives       long random lives of the plane against its model (a minute)'
	@echo 'make realtime    low latency in hls.js, for a minute, and in Shaka: wants a machine that keeps pace'
	@echo 'make strain      slow readers and hooks, floods, dying publishers, release builds (6 minutes)'
	@echo 'make disks       recordings on disks that are full or stop; mounts some, which wants root'
	@echo 'make soak        viewers come and go for MINUTES=$(MINUTES); does the server leak?'
	@echo 'make bench       every figure, server against floor: 50 minutes of a quiet machine'
	@echo '                 (ONLY=http-flv,rtmp for some rows; target/bench.svg is the plot)'
	@echo 'make microbench  the single steps of a byte'"'"'s way (FILTER=flush for some)'
	@echo 'make fuzz        each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS) (or FUZZ_TARGETS="a b")'
	@echo 'make deny        licences, bans and sources of the dependencies; make advisories'
	@echo '.ci/run          test and judges'

build:
	$(CARGO) build --locked --release --bin corecast

run: build
	$${CARGO_TARGET_DIR:-target}/release/corecast demo

test: fmt clippy unit docs end_to_end load

fmt:
	@tests/install.sh test
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --test fmp4 --test hls --test judges --test smoke --test strain --test ts -- -D warnings

# What needs no foreign program. tidy comes with it: it reads src/.
unit:
	$(TEST) --lib --bins --bench steps --test tidy --test config --test seeds
	$(TEST) --test access --test admin --test admin_tls --test callers --test cli --test container \
	    --test cores --test drain --test events --test hook_changes --test hook_ends --test hooks --test http --test limits --test logs \
	    --test places --test playlists --test pressure --test process --test production --test proxy \
	    --test publishers --test reload --test reload_life --test tls --test vanished --test verdicts

# The plane's random lives, twenty million steps of them; for changes of the plane.
lives:
	$(TEST) --release --lib plane::model -- --ignored

docs:
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --locked --workspace --no-deps --document-private-items

end_to_end:
	@tests/install.sh test
	$(TEST) --test console --test end_to_end --test http_ingest --test metrics --test record --test replay --test schemathesis --test ts_demux --test ts_udp -- --test-threads=$(THREADS)

# The load generator against real servers.
load:
	@tests/install.sh test
	$(TEST) --test fetch --test judge --test meter --test play --test publish --test report \
	    --test soak -- --test-threads=$(THREADS)

# FILTER=name runs the judges whose names hold it.
judges:
	@tests/install.sh judges
	$(TEST) --test compare --test fmp4 --test hls --test judges --test smoke --test stay --test ts --test watch_page \
	    -- --test-threads=$(THREADS) $(FILTER)
	$(TEST) --test ts_udp -- --ignored $(FILTER)

# What only a machine that keeps pace can show: a neighbour that takes the CPUs for half a second now
# and then stalls a player that is a second behind. So these are no part of .ci/run.
realtime:
	@tests/install.sh judges
	$(TEST) --test hls -- --ignored --test-threads=1 $(FILTER)

# It measures, so nothing else should run meanwhile. FILTER=name as above.
strain:
	$(TEST) --release --test strain -- --test-threads=1 --nocapture $(FILTER)

# Recordings on file systems that are full or stop, mounted below the target directory: as root.
disks:
	@tests/install.sh disks
	$(TEST) --test record -- --ignored

# SOAK='--streams 2 --bitrate 2M --viewers 200' is another load, of `corecast-load soak`'s options.
SOAK ?= --streams 10 --bitrate 500k --viewers 1000
soak:
	$(CARGO) build --locked --release --workspace --bins --example soak
	$(BUILT)/release/examples/soak --duration $(MINUTES)m $(SOAK)

fuzz:
	@tests/install.sh fuzz
	@for target in $(FUZZ_TARGETS); do \
	    echo "== fuzz $$target"; \
	    mkdir -p bench/fuzz/corpus/$$target; \
	    RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir bench/fuzz $$target \
	        bench/fuzz/corpus/$$target bench/fuzz/seeds/$$target \
	        -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
	        || exit 1; \
	done

# Prints a section for bench/RESULTS.md. ARGS=--quick only tries whether it works; for the most
# important figures in some minutes: make bench ONLY=http-flv,rtmp ARGS='--rounds 3 --seconds 7'.
BUILT = $${CARGO_TARGET_DIR:-target}
bench:
	@tests/install.sh bench
	$(CARGO) build --locked --release -p corecast -p corecast-load -p corecast-bench
	$(BUILT)/release/figure $(if $(ONLY),--only $(ONLY)) --plot $(BUILT)/bench.svg $(ARGS)

microbench:
	$(CARGO) bench --locked -p corecast-bench -- --noplot $(FILTER)

deny:
	@tests/install.sh deny
	$(CARGO) deny --locked check licenses bans sources

advisories:
	@tests/install.sh deny
	$(CARGO) deny --locked check advisories

ci:
	.ci/run
