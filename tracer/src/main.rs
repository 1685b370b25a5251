//! The `tcpdwell` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    tracer::command::run()
}
