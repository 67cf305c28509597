//! Gives homes to names that commands tie together, if there are such commands, and sees whether the targets allow it.

use crate::config::Job;
use crate::error::{Error, Kind, Result};
use crate::placement::{Placing, place};
use crate::route::{Rules, Takes};
use crate::source::Source;
use crate::survey::Survey;

/// Places the names of a surveyed source; routing knows of it from then on. What is tied to directories is on the lane
/// behind those of `rules`.
pub fn placing(
    job: &Job,
    source: &Source,
    rules: &mut Rules,
    survey: &Survey,
    go_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Placing> {
    if survey.tally.tied == 0 {
        return Ok(Placing::default());
    }
    let (homes, placing) = place(source, rules, survey, job.limits.placement_bytes_max, go_on)?;
    // What comes from a scratch server is made to fit.
    if placing.foreign.iter().any(|one| usize::from(one.home) < rules.live.len()) {
        require_same_versions(job, rules)?;
    }
    rules.routing.set_homes(homes);
    Ok(placing)
}

/// What one target gives as the payload of a key another has to take.
fn require_same_versions(job: &Job, rules: &Rules) -> Result<()> {
    let form = |takes: &Takes| (takes.rdb_version, takes.product);
    let mut lanes = rules.live.iter().enumerate().filter_map(|(lane, takes)| Some((lane, takes.as_ref()?)));
    let Some((first, takes)) = lanes.next() else { return Ok(()) };
    let Some((other, _)) = lanes.find(|(_, other)| form(other) != form(takes)) else { return Ok(()) };
    let name = |lane: usize| job.topology.sets[lane].target.to_string();
    Err(Error::new(
        Kind::Target,
        "commands of the source tie keys of several targets together, and these are of different versions",
    )
    .unwritten()
    .shard(first, name(first))
    .shard(other, name(other))
    .remedy("use targets of one version, or BGREWRITEAOF on the source: what is left then ties nothing"))
}
