//! The little of AMD (`define`) that a package needs whose file is an AMD module.

type Factory = (...modules: unknown[]) => unknown;

/** The modules defined by the packages, in the order of their imports. */
export const defined: { dependencies: readonly string[]; factory: Factory }[] = [];

// Without `define.amd`: packages that have a file for every kind of module must not take this for an AMD loader.
Object.assign(globalThis, { define: (dependencies: readonly string[], factory: Factory) => void defined.push({ dependencies, factory }) });
