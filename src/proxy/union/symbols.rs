//! Symbols of a union: from the first member with a symbol server that has them. A file is named by its own hash or GUID,
//! so whoever has it has the same bytes.

use std::sync::Arc;

use http::Response;

use super::{Union, UnionQuery};
use crate::nuget::id::PackageId;
use crate::proxy::Proxy;
use crate::proxy::body::Body;
use crate::proxy::content::Delivery;
use crate::proxy::failure::Failure;
use crate::proxy::feed::Feed;
use crate::proxy::files::checksum_of;
use crate::proxy::reads::answer_absent;
use crate::proxy::refusal::Refusal;
use crate::proxy::respond::{self, Facts};
use crate::proxy::route::SymbolPath;
use crate::proxy::told::Told;
use crate::proxy::view::Seen;

impl Proxy {
    /// A file of the members' symbol servers.
    pub(super) async fn union_symbols(
        &self,
        query: &UnionQuery<'_>,
        path: &SymbolPath,
        facts: &Facts<'_>,
        told: &mut Told,
    ) -> Result<Response<Body>, Failure> {
        let checksum = match checksum_of(facts) {
            Ok(checksum) => checksum,
            Err(problem) => return Ok(respond::refusal(facts, &Refusal::BadRequest(problem))),
        };
        let members = members_for(query.union, path);
        if members.is_empty() {
            return Err(Failure::NotOffered("symbols"));
        }
        let mut roll = self.roll();
        for (place, member) in members.iter().enumerate() {
            let want =
                self.symbols(&query.of_member(member, query.base), path, checksum.clone())?;
            match self.content(&want, facts).await {
                Ok(Delivery::Absent(missing)) => {
                    roll.add(place, member, Ok(Seen::Absent(missing)))?;
                }
                Ok(delivery) => return Ok(self.deliver(delivery, &want, facts, told)),
                Err(failure) => self.add_to(&mut roll, query, place, member, Err(failure))?,
            }
        }
        Ok(answer_absent(roll.nothing()?, facts, told))
    }
}

/// The members that are asked for a file of symbols, in their order. What it is called without its ending is mostly the id
/// of its package: if one member owns that, no other is told.
fn members_for(union: &Union, path: &SymbolPath) -> Vec<Arc<Feed>> {
    let file = path.canonical.split('/').next().unwrap_or_default();
    let name = file.rsplit_once('.').map_or(file, |(name, _)| name);
    let mut members = match PackageId::parse(name) {
        Ok(id) => union.candidates(&id),
        Err(_) => union.members.clone(),
    };
    members.retain(|member| member.beside.symbols.is_some());
    members
}
