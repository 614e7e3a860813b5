//! `tool add`: a person accepts a component: what it is, what it may reach, who may see what.
//!
//! Invariants:
//! * what is in the lock was shown before it was written;
//! * a tool never takes the place of another one by itself: a changed component, contract or
//!   class, and with it a wider wish, stops with the differences and the command that accepts them;
//! * nothing is granted that nobody said.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use stoplog_model::{Class, Contract, Reason};
use stoplog_sandbox::inspect;
use stoplog_store::DataDir;

use super::ask::{self, Ask, Terminal};
use super::{Context, Target, at, examine, quoted, words};
use crate::args::{AcceptClass, Add};
use crate::config::Config;
use crate::error::{CliError, Exit};
use crate::host;
use crate::lock::{self, Granted, Lock, Locked, Side};
use crate::{output, sample};

/// The configuration of a folder that has none. Nothing in it costs or reaches anything.
const FIRST_CONFIG: &str = r#"# Made by `stoplog tool add`. Paths are relative to this file.
data_dir = "data"

[agent]
feature = "default"
system_prompt = "Use the tools to do what you are asked."

# Replays a file: `stoplog run --script FILE`. For a provider: kind = "openai", base_url, model,
# api_key_env.
[model]
kind = "scripted"
"#;

pub(super) async fn run(context: &Context, args: Add) -> Result<Exit, CliError> {
    let target = Target::of(args.path.as_deref())?;
    let bytes = target.read()?;
    let inspection = inspect(&bytes).map_err(|e| at(target.component(), e.into()))?;
    let (config, is_new) = configuration(context)?;
    if is_new {
        // A refusal leaves nothing behind in a folder that had nothing.
        accept(target.component(), inspection.class, args.accept_class)?;
    }
    let data = DataDir::unlocked(&config.data_dir)?;
    let sandbox = host::adding_sandbox(&data)?;
    let (inspection, contract) = examine(&sandbox, target.component(), &bytes).await?;
    let lock = Lock::load(&config.lock)?;
    let mut locked = Locked::new(&inspection, &contract);
    let old = lock.get(&locked.name).cloned();
    let is_known = old.as_ref().is_some_and(|old| old.is_same_tool(&locked));
    if !is_known {
        let old = old.as_ref().filter(|_| !args.replace);
        if let Some(old) = old {
            return Err(changed(&data, &args, old, &locked, &contract));
        }
        accept(target.component(), locked.class, args.accept_class)?;
    }

    let mut terminal = match context.json || args.yes {
        true => None,
        false => Terminal::open(),
    };
    let plan = Plan {
        config: &config,
        contract: &contract,
        is_new,
    };
    if !context.json {
        plan.show(&locked);
    }
    let already = old
        .as_ref()
        .map_or(Vec::new(), |old| kept_grants(old, &locked));
    let someone = terminal.as_mut().map(|t| t as &mut dyn Ask);
    locked.grants = ask::grants(
        &locked.egress,
        &already,
        &args.grant,
        args.grant_asked,
        someone,
    )
    .map_err(|e| CliError::new(Reason::ToolContractInvalid, e))?;
    if let Some(terminal) = &mut terminal
        && !terminal.yes("accept it with these rights?")
    {
        let message = format!("`{}` was not added", locked.name);
        return Err(CliError::new(Reason::ToolDeclined, message));
    }

    if is_new {
        first_config(context.config_path())?;
    }
    lock::keep(&data, &bytes, &contract)?;
    // What was read before a person was asked may be old by now: others add tools too.
    let _alone = Lock::alone(&config.lock)?;
    let mut lock = Lock::load(&config.lock)?;
    if lock.get(&locked.name) != old.as_ref() {
        let message = format!(
            "`{}` was changed in {} meanwhile; nothing was written. Look at it, and add it again",
            locked.name,
            config.lock.display()
        );
        return Err(CliError::new(Reason::ToolChanged, message));
    }
    lock.put(locked.clone());
    lock.save(&config.lock)?;
    plan.tell(context, &locked, old.as_ref());
    Ok(Exit::Ok)
}

/// What stays granted: all to the same tool; to a changed one of the same class what it still asks for;
/// to one of another class nothing.
fn kept_grants(old: &Locked, new: &Locked) -> Vec<Granted> {
    let is_asked = |g: &&Granted| {
        let place = std::slice::from_ref(*g);
        new.egress.iter().any(|asked| lock::covered(asked, place))
    };
    match (old.is_same_tool(new), old.class == new.class) {
        (true, _) => old.grants.clone(),
        (false, true) => old.grants.iter().filter(is_asked).cloned().collect(),
        (false, false) => Vec::new(),
    }
}

/// Writes the first configuration, whole, unless somebody has written one meanwhile.
fn first_config(path: &Path) -> Result<(), CliError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        // Readable as any file that a person would have written: nothing in it is secret.
        let mode = fs::Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new()
            .permissions(mode)
            .tempfile_in(folder)?;
        file.write_all(FIRST_CONFIG.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|e| {
        let message = format!("{}: {e}", path.display());
        CliError::new(Reason::FileUnwritable, message)
    })
}

/// The configuration; a first one where there is none, not yet written.
fn configuration(context: &Context) -> Result<(Config, bool), CliError> {
    let path = context.config_path();
    if path.exists() {
        return Ok((context.config()?, false));
    }
    let name = path.file_name().unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let above = absolute
        .parent()
        .into_iter()
        .flat_map(|p| p.ancestors().skip(1));
    if let Some(found) = above.map(|dir| dir.join(name)).find(|p| p.is_file()) {
        let message = format!(
            "there is none here, and one above. Take that one: --config {}",
            quoted(&found.display().to_string())
        );
        return Err(CliError::new(Reason::ConfigNotFound, message));
    }
    let config = Config::parse(path, FIRST_CONFIG)?;
    Ok((context.with_data_dir(config), true))
}

/// Class 3 and 4 are accepted by name.
fn accept(file: &Path, class: Class, accepted: Option<AcceptClass>) -> Result<(), CliError> {
    let named = match accepted {
        None => None,
        Some(AcceptClass::External) => Some(Class::External),
        Some(AcceptClass::Irreversible) => Some(Class::Irreversible),
    };
    if class < Class::External || named == Some(class) {
        return Ok(());
    }
    let message = format!(
        "{}: its class is {class}: what it does cannot be taken back from here. Accept it with \
         --accept-class {class}",
        file.display()
    );
    Err(CliError::new(Reason::ToolClassNotAccepted, message))
}

/// The differences, and the command that accepts them.
fn changed(
    data: &DataDir,
    args: &Add,
    old: &Locked,
    new: &Locked,
    contract: &Contract,
) -> CliError {
    let known = lock::contract(data, old).ok();
    let before = Side {
        locked: old,
        contract: known.as_ref(),
    };
    let after = Side {
        locked: new,
        contract: Some(contract),
    };
    let lines = lock::changes(&before, &after).join("\n  ");
    let mut command = "stoplog tool add".to_owned();
    if let Some(path) = &args.path {
        command.push(' ');
        command.push_str(&quoted(&path.display().to_string()));
    }
    command.push_str(" --replace");
    if new.class >= Class::External {
        command.push_str(&format!(" --accept-class {}", new.class));
    }
    let message = format!(
        "`{}` is in the lock as another one:\n  {lines}\naccept the change: {command}",
        old.name
    );
    CliError::new(Reason::ToolChanged, message)
}

/// What is told of a tool that is added.
struct Plan<'a> {
    config: &'a Config,
    contract: &'a Contract,
    is_new: bool,
}

impl Plan<'_> {
    /// What it is and asks for, before anybody is asked anything.
    fn show(&self, locked: &Locked) {
        let (class, version) = (locked.class, &locked.version);
        let number = class.number();
        output::line(format!(
            "{} {version}, class {class} ({number})",
            locked.name
        ));
        output::line(format!("  asks for   {}", words(&locked.egress)));
        output::line(format!("  secrets    {}", words(&locked.secrets)));
        if locked.state {
            output::line("  keeps      state between its calls, for each tenant apart");
        }
        if let Some(shown) = &locked.disclosure {
            let hidden = [&shown.personal[..], &shown.secret[..]].concat();
            output::line(format!("  hidden     {}", words(&hidden)));
        }
    }

    /// What is granted by the configuration, and not by the lock.
    fn configured(&self, locked: &Locked) -> Vec<String> {
        let grants = self.config.grants.get(&locked.name);
        let place = |g: &stoplog_egress::Grant| g.origin.to_string();
        let elsewhere = grants.into_iter().flatten();
        let elsewhere = elsewhere.filter(|g| locked.grants.iter().all(|l| l.origin != place(g)));
        elsewhere.map(ToString::to_string).collect()
    }

    /// What was written, and what comes next.
    fn tell(&self, context: &Context, locked: &Locked, old: Option<&Locked>) {
        let configured = self.configured(locked);
        let mut granted: Vec<String> = locked.grants.iter().map(Granted::to_string).collect();
        granted.extend(configured.iter().cloned());
        let input = sample::input(&self.contract.input_schema).to_string();
        let approve = match locked.class {
            Class::Irreversible => " --approve-as YOU",
            _ => "",
        };
        let next = format!(
            "stoplog tool run {} {}{approve}",
            locked.name,
            quoted(&input)
        );
        if context.json {
            output::json(&json!({
                "name": locked.name, "class": locked.class, "component": locked.component,
                "asks": locked.egress, "granted": granted, "secrets": locked.secrets,
                "state": locked.state,
                "wrote_config": self.is_new, "next": next,
            }));
            return;
        }
        output::line(format!("  granted    {}", words(&granted)));
        let places: Vec<Granted> = granted_places(locked, &configured);
        let left = locked.egress.iter().filter(|a| !lock::covered(a, &places));
        let left: Vec<String> = left.cloned().collect();
        if !left.is_empty() {
            let left = words(&left);
            output::line(format!(
                "  refused    {left}: to grant it, add --grant-asked, or --grant with less"
            ));
        }
        let unbound = |name: &&String| !self.config.secrets.contains_key(*name);
        for name in locked.secrets.iter().filter(unbound) {
            let path = context.config_path().display();
            output::line(format!(
                "  to do      bind the secret in {path}: [secrets.{name}] env = \"VARIABLE\""
            ));
        }
        if self.is_new {
            let path = context.config_path().display();
            output::line(format!("wrote {path}: there was none"));
        }
        let lock = self.config.lock.display();
        output::line(match old {
            Some(old) if old == locked => format!("{lock} has it as it is"),
            Some(_) => format!("changed it in {lock}"),
            None => format!("added to {lock}"),
        });
        output::line(format!("next: {next}"));
    }
}

/// All that is granted, whoever grants it.
fn granted_places(locked: &Locked, configured: &[String]) -> Vec<Granted> {
    let configured = configured.iter().filter_map(|text| text.parse().ok());
    locked.grants.iter().cloned().chain(configured).collect()
}
