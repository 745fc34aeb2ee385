//! The `paster` program: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    paster::cli::main()
}
