//! How a server takes a connection.

use std::sync::Arc;

use super::conn_state::{ConnState, OpenCount};
use super::connection;
use super::shared::HttpShared;
use super::stream::Speaks;
use crate::server::accept::{Backend, HandedOver, IncomingConn, ListenerId, ServerBase};
use crate::server::gate::ConnInfo;

impl Backend for HttpShared {
    const KEEPS: bool = true;

    fn base(&self) -> &ServerBase {
        &self.base
    }

    fn take(self: &Arc<Self>, incoming: IncomingConn, place: ListenerId) {
        match incoming {
            IncomingConn::Accepted(stream, at) => {
                let open = OpenCount::new(ConnState::new(self.clone(), Some(at)));
                tokio::spawn(connection::begin(stream, open, place));
            }
            IncomingConn::HandedOver(HandedOver { stream, read, peer, secure }) => {
                let open = OpenCount::new(ConnState::new(self.clone(), None));
                // It was plain when it arrived. If the listener now uses TLS, it ends with the next response.
                open.conn.close_next.set(self.preface.tls(&place).is_some());
                let info = ConnInfo { peer, listen: place.listen.clone(), secure, ..ConnInfo::default() };
                tokio::spawn(connection::serve(stream.into(), read, open, place, info, Speaks::Either));
            }
        }
    }
}
