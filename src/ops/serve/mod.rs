//! `paster serve`: supervisor, workers, generations.
