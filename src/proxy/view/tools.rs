//! The list of client binaries: their addresses become ours.

use super::{How, Query, Seen};
use crate::proxy::Proxy;
use crate::proxy::document::{Ask, Place};
use crate::proxy::failure::Failure;
use crate::proxy::route::{Class, Resource};

impl Proxy {
    /// The list, from the place that the settings name.
    pub(super) async fn tools_list(&self, query: &Query<'_>) -> Result<Seen, Failure> {
        let ask = self.tools_ask(query);
        let obtained = self.document(&ask).await?;
        Ok(self.shown(&ask, obtained, How::ToolsList))
    }

    pub(in crate::proxy) fn tools_ask(&self, query: &Query<'_>) -> Ask {
        let ask = self.ask_for_resource(query, &Resource::ToolsList, Class::ToolsList, None);
        Ask {
            place: Place::Named(query.feed.settings.upstream.clone()),
            ..ask
        }
    }
}
