# Corecast in a container: one binary and its configuration, no shell, no root.
#
#   docker build -t corecast .
#   docker run --network host --security-opt seccomp=config/seccomp.json \
#       --ulimit nofile=1048576 --ulimit memlock=67108864 --stop-timeout 60 \
#       -v ./corecast.toml:/etc/corecast/corecast.toml:ro corecast
#
# The default seccomp profiles of container engines forbid io_uring; config/seccomp.json is such a
# profile with the three calls of io_uring allowed. io_uring needs about 1 MiB of locked memory per
# core. The network of the host spares every byte a way through a bridge. Orchestrators ask /readyz on
# port 8080 whether to send viewers, and whether to restart it (liveness) they ask /healthz on the admin
# port, 127.0.0.1:8081, or on admin.metrics_listen where they come from elsewhere: port 8080 closes while
# the node drains. There is no HEALTHCHECK, as the image has no program that could ask.

FROM rust:1.95-bookworm AS build
WORKDIR /corecast
COPY . .
RUN cargo build --locked --release --package corecast --bin corecast

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /corecast/target/release/corecast /usr/local/bin/corecast
COPY config/corecast.toml /etc/corecast/corecast.toml
# RTMP, and media over HTTP. The admin port stays inside, on 127.0.0.1:8081, until it has a token.
EXPOSE 1935 8080
# "nonroot", as a number: then an orchestrator can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/corecast"]
CMD ["run", "--config", "/etc/corecast/corecast.toml"]
