//! What a rules file asks of who loads it.

use super::Reader;
use crate::yaml::Node;

/// The version of Falco's rules engine whose language this is: that of Falco 0.44.
const ENGINE_VERSION: [u64; 3] = [0, 62, 0];

/// The plugins whose fields the registry has, and of which version: major and minor.
const PLUGINS: [(&str, [u64; 2]); 2] = [("k8saudit", [0, 18]), ("json", [0, 7])];

impl Reader<'_> {
    pub(super) fn engine_version(&mut self, node: &Node) {
        let required = match (node.as_int(), node.as_str()) {
            (Some(number), _) => u64::try_from(number).ok().map(|n| [0, n, 0]),
            (None, Some(text)) => version(text),
            (None, None) => None,
        };
        let [major, minor, patch] = ENGINE_VERSION;
        match required {
            None => self.error(
                node,
                "required_engine_version is a number or a version such as \"0.62.0\"",
            ),
            Some(required) if required[0] == major && required <= ENGINE_VERSION => {}
            Some([a, b, c]) => self.error(
                node,
                format!(
                    "the rules need version {a}.{b}.{c} of the rules engine; this is \
                     {major}.{minor}.{patch}"
                ),
            ),
        }
    }

    /// Each plugin, or one of its alternatives, has to be here. Rules of the sources of others are
    /// skipped, so that these are no more than worth a warning.
    pub(super) fn plugin_versions(&mut self, plugins: &Node) {
        let Some(plugins) = plugins.as_sequence() else {
            self.error(
                plugins,
                "required_plugin_versions is a list of {name, version}",
            );
            return;
        };
        for plugin in plugins {
            let alternatives = plugin.get("alternatives").and_then(Node::as_sequence);
            let all = std::iter::once(plugin).chain(alternatives.unwrap_or_default());
            let mut found = Vec::new();
            for plugin in all {
                found.push(self.requirement(plugin));
            }
            if found.iter().any(|met| matches!(met, None | Some(Met::Yes))) {
                continue;
            }
            match found.into_iter().next().flatten() {
                Some(Met::TooOld(message)) => self.error(plugin, message),
                Some(Met::Unknown(message)) => self.warn(plugin, message, None),
                Some(Met::Yes) | None => {}
            }
        }
    }

    /// Whether one plugin is here; `None`, and an error, if nothing sensible is asked.
    fn requirement(&mut self, plugin: &Node) -> Option<Met> {
        let name = plugin.get("name").and_then(Node::as_str);
        let wanted = plugin.get("version").and_then(Node::as_str);
        let wanted = wanted.and_then(version);
        let (Some(name), Some([major, minor, patch])) = (name, wanted) else {
            self.error(
                plugin,
                "a required plugin has a \"name\" and a \"version\" such as 0.18.0",
            );
            return None;
        };
        let Some((_, ours)) = PLUGINS.iter().find(|(known, _)| *known == name) else {
            let message = format!("the rules need the plugin {name}, which is not here");
            return Some(Met::Unknown(message));
        };
        if major == ours[0] && [major, minor] <= *ours {
            return Some(Met::Yes);
        }
        let [our_major, our_minor] = ours;
        Some(Met::TooOld(format!(
            "the rules need the plugin {name} {major}.{minor}.{patch}; the fields here are those \
             of {our_major}.{our_minor}"
        )))
    }
}

/// Whether what is asked is here.
enum Met {
    Yes,
    TooOld(String),
    Unknown(String),
}

/// Reads `x.y.z`.
fn version(text: &str) -> Option<[u64; 3]> {
    let parts: Vec<u64> = text
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    parts.try_into().ok()
}
