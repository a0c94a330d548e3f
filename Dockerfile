# Vestibule's image: both programs, the libraries that they are linked to, and nothing else; no shell, not root.
# `make image` makes the same without a container engine.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin vestibule --bin vestibule-operator
RUN mkdir -p /image/usr/local/bin \
 && for program in vestibule vestibule-operator; do \
      strip -o "/image/usr/local/bin/$program" "target/release/$program" \
      && ldd "target/release/$program" | grep -o '/[^ ]*' | xargs -I{} cp --dereference --parents {} /image; \
    done

FROM scratch
COPY --from=build /image /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/vestibule"]
