//! The state shared by all connections of one server.

use std::marker::PhantomData;
use std::sync::Arc;

use super::admit::Fronts;
use super::idle::Idling;
use crate::body::App;
use crate::server::accept::ServerBase;
use crate::server::control::Control;
use crate::server::options::ServerLimits;

/// The state shared by all connections of one server.
pub(super) struct GatewayShared<P> {
    pub(super) base: ServerBase,
    pub(super) fronts: Fronts,
    protocol: PhantomData<fn() -> P>,
}

impl<P> GatewayShared<P> {
    pub(super) fn new(fronts: Fronts, limits: ServerLimits, app: App, control: &Control) -> GatewayShared<P> {
        GatewayShared { base: ServerBase::new(limits, app, control), fronts, protocol: PhantomData }
    }
}

/// One open connection in the counters.
pub(super) struct GatewayConn<P> {
    pub(super) shared: Arc<GatewayShared<P>>,
    pub(super) id: u64,
    pub(super) idling: Arc<Idling>,
}

impl<P> Drop for GatewayConn<P> {
    fn drop(&mut self) {
        self.shared.base.closed(self.id);
    }
}
