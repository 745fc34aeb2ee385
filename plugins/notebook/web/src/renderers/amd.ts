//! The little of AMD (`define`) that a package needs whose file is an AMD module.

type Factory = (...modules: unknown[]) => unknown;

/** What the packages have defined, in the order in which they were imported. */
export const defined: { dependencies: readonly string[]; factory: Factory }[] = [];

// Without `define.amd`: packages that have a file for every kind of module must not take this for an AMD loader.
Object.assign(globalThis, { define: (dependencies: readonly string[], factory: Factory) => void defined.push({ dependencies, factory }) });
