//! Cache classes: the kinds of what is kept.

/// The cache class of a resource: what its freshness, checks and log lines go by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Autocomplete results.
    Autocomplete,
    /// The catalog's index.
    CatalogIndex,
    /// A catalog leaf.
    CatalogLeaf,
    /// A page of the catalog.
    CatalogPage,
    /// A certificate that the repository signatures name.
    Certificate,
    /// `icon` of a package.
    Icon,
    /// `license` of a package.
    License,
    /// The `.nuspec`.
    Manifest,
    /// The `.nupkg`.
    Package,
    /// `readme` of a package.
    Readme,
    /// A registration index.
    RegistrationIndex,
    /// A registration leaf.
    RegistrationLeaf,
    /// A registration page.
    RegistrationPage,
    /// The repository signatures.
    RepositorySignatures,
    /// Search results.
    Search,
    /// The service index.
    ServiceIndex,
    /// A file of a symbol server.
    Symbols,
    /// A client binary.
    Tool,
    /// The list of client binaries.
    ToolsList,
    /// A flat container version list.
    VersionList,
    /// The vulnerability index.
    VulnerabilityIndex,
    /// A vulnerability page.
    VulnerabilityPage,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 22] = [
        Self::Autocomplete,
        Self::CatalogIndex,
        Self::CatalogLeaf,
        Self::CatalogPage,
        Self::Certificate,
        Self::Icon,
        Self::License,
        Self::Manifest,
        Self::Package,
        Self::Readme,
        Self::RegistrationIndex,
        Self::RegistrationLeaf,
        Self::RegistrationPage,
        Self::RepositorySignatures,
        Self::Search,
        Self::ServiceIndex,
        Self::Symbols,
        Self::Tool,
        Self::ToolsList,
        Self::VersionList,
        Self::VulnerabilityIndex,
        Self::VulnerabilityPage,
    ];

    /// The class that a word stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }

    /// Whether it is kept in memory alone: results that change all the time are not worth a file.
    #[must_use]
    pub fn is_memory_only(self) -> bool {
        matches!(self, Self::Autocomplete | Self::Search)
    }

    /// Whether it is a file of a package: the same for everybody who may see it.
    #[must_use]
    pub fn is_content(self) -> bool {
        match self {
            Self::Icon | Self::License | Self::Manifest | Self::Package | Self::Readme => true,
            Self::Autocomplete
            | Self::CatalogIndex
            | Self::CatalogLeaf
            | Self::CatalogPage
            | Self::Certificate
            | Self::RegistrationIndex
            | Self::RegistrationLeaf
            | Self::RegistrationPage
            | Self::RepositorySignatures
            | Self::Search
            | Self::ServiceIndex
            | Self::Symbols
            | Self::Tool
            | Self::ToolsList
            | Self::VersionList
            | Self::VulnerabilityIndex
            | Self::VulnerabilityPage => false,
        }
    }

    /// The word for it in keys, logs and metrics. Part of stored keys: never change one.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Autocomplete => "autocomplete",
            Self::CatalogIndex => "catalog-index",
            Self::CatalogLeaf => "catalog-leaf",
            Self::CatalogPage => "catalog-page",
            Self::Certificate => "certificate",
            Self::Icon => "icon",
            Self::License => "license",
            Self::Manifest => "manifest",
            Self::Package => "package",
            Self::Readme => "readme",
            Self::RegistrationIndex => "registration-index",
            Self::RegistrationLeaf => "registration-leaf",
            Self::RegistrationPage => "registration-page",
            Self::RepositorySignatures => "repository-signatures",
            Self::Search => "search",
            Self::ServiceIndex => "service-index",
            Self::Symbols => "symbols",
            Self::Tool => "tool",
            Self::ToolsList => "tools-list",
            Self::VersionList => "version-list",
            Self::VulnerabilityIndex => "vulnerability-index",
            Self::VulnerabilityPage => "vulnerability-page",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_word_of_its_own() {
        for class in Class::ALL {
            assert_eq!(Class::of_word(class.word()), Some(class));
        }
        assert_eq!(Class::of_word("union-record"), None);
    }
}
