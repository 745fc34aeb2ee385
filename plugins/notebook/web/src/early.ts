//! Connects a notebook's page while its main script is loaded.

import { connectEarly } from "./transport/early";

connectEarly();
