//! Repository signatures: their certificates' addresses become ours, and their claim is passed on where it holds.

use super::{How, Query, Seen};
use crate::nuget::service_index::SignaturesVersion;
use crate::nuget::signatures::Claim;
use crate::proxy::Proxy;
use crate::proxy::document::Ask;
use crate::proxy::failure::Failure;
use crate::proxy::route::{Class, Resource};

impl Proxy {
    /// One version of the signatures. `claim` says what becomes of `allRepositorySigned`: a feed of one upstream passes it
    /// on, one of several must not (protocol fact 2.6.9). Only the newest version may make it: clients that read the older
    /// ones keep documents of all versions under one name (protocol facts 2.6.10, 7.6.7).
    pub(in crate::proxy) async fn repository_signatures(
        &self,
        query: &Query<'_>,
        version: SignaturesVersion,
        claim: Claim,
    ) -> Result<Seen, Failure> {
        let claim = match version {
            SignaturesVersion::V4_7_0 | SignaturesVersion::V4_9_0 => Claim::Never,
            SignaturesVersion::V5_0_0 => claim,
        };
        let ask = self.signatures_ask(query, version);
        let obtained = self.document(&ask).await?;
        Ok(self.shown(&ask, obtained, How::RepositorySignatures(claim)))
    }

    pub(in crate::proxy) fn signatures_ask(
        &self,
        query: &Query<'_>,
        version: SignaturesVersion,
    ) -> Ask {
        let resource = Resource::RepositorySignatures(version);
        self.ask_for_resource(query, &resource, Class::RepositorySignatures, None)
    }
}
