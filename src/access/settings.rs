//! The settings that `access` obeys, feeds' rules aside.

use std::path::PathBuf;

use crate::store::SmallFile;

/// Where users and tokens are kept, and who administers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Users who may use the admin listener's interface.
    pub admins: Vec<String>,
    /// Where tokens and their use are kept unless another place is named.
    pub data_dir: PathBuf,
    /// The file of tokens; `None`: one in the data folder.
    pub tokens_file: Option<PathBuf>,
    /// The file of users, if there is one.
    pub users_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            admins: Vec::new(),
            data_dir: "./sluice-data".into(),
            tokens_file: None,
            users_file: None,
        }
    }
}

impl Settings {
    /// The file of tokens.
    #[must_use]
    pub fn tokens(&self) -> SmallFile {
        let path = self.tokens_file.clone();
        SmallFile::new(path.unwrap_or_else(|| self.data_dir.join("tokens.json")))
    }

    /// The file that says when each token was last used. The process that serves writes it, and nobody else; it stands
    /// apart from the tokens, whose place that process may only be allowed to read.
    #[must_use]
    pub fn uses(&self) -> SmallFile {
        SmallFile::new(self.data_dir.join("token-uses.json"))
    }

    /// The file of users.
    #[must_use]
    pub fn users(&self) -> Option<SmallFile> {
        self.users_file.clone().map(SmallFile::new)
    }
}
