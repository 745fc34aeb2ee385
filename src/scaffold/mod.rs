//! Skeletons: manifest, render in memory, then write.
