# A part of the built-in kernel: wire.py has the imports.


if __name__ == "__main__":
    install_magics()
    KERNEL = Kernel(sys.argv[1])
    # The running module is replaced in sys.modules: keep these names alive.
    sys.modules["paster_kernel"] = sys.modules["__main__"]
    KERNEL.run()
