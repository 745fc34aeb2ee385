//! The `paster` program: arguments in, exit code out.

#![warn(clippy::print_stdout, clippy::print_stderr)] // they panic on a closed pipe: use `cli::output`

fn main() -> std::process::ExitCode {
    paster::cli::main()
}
