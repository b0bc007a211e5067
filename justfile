# The contributor's day. `just` lists the verbs; each is also an ordinary command that you may type yourself.

default:
    @just --list

# Runs all tests of `cargo test`
test *arguments:
    cargo test --locked {{arguments}}

# Format, clippy and documentation, as .ci/run checks them
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

# All that has to pass before a change is taken
ci:
    .ci/run

# The speed, beside that of Redis in the same run
bench *arguments:
    cargo bench --bench load -- {{arguments}}

# What an innocent user notices when somebody attacks; rows such as 9 or 13-lines
attacks *arguments:
    cargo bench --bench attacks -- {{arguments}}

# One fuzz target: framer, parser, json, name, config, text or family; wants nightly Rust and cargo-fuzz
fuzz target *arguments:
    cd fuzz && cargo +nightly fuzz run {{target}} {{arguments}}

# Crashes and power cuts, longer than in `cargo test`; the second wants root
proof:
    CHATD_CRASH_CYCLES=2000 cargo test --release --test it crash
    CHATD_POWER_CUTS=50 cargo test --release --test it power

# The package of the former release, and the present one over it; wants root, systemd-nspawn and debootstrap
upgrade:
    tests/system/upgrade

# Licences, advisories, duplicates; wants cargo-deny
deny:
    cargo deny check

# The Debian package: target/chatd.deb
package *arguments:
    packaging/build {{arguments}}

# All of a release, into target/dist: static binaries, package, images, sums
release:
    packaging/release

# The documentation of the code, in the browser
docs:
    cargo doc --no-deps --document-private-items --open
