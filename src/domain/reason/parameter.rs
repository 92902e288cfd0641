//! The parameters that errors are about, and their names in each cloud.

/// The parameter that an error is about; [`ParameterNames`] has the name that a cloud API uses for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// `spec.profile`.
    Profile,
    /// `spec.keyPairName`, or `metadata.name` as its default.
    KeyPairName,
    /// `spec.publicKey`.
    PublicKey,
    /// `spec.generate`.
    Generate,
    /// `spec.description`.
    Description,
    /// The keys of `spec.tags`.
    TagKey,
    /// The values of `spec.tags`.
    TagValue,
    /// `spec.clientToken`.
    ClientToken,
    /// `spec.project`.
    Project,
    /// The namespace.
    Region,
    /// The number of key pairs in the namespace.
    Quota,
    /// `spec.secret`, or the Secret itself.
    Secret,
    /// `spec.rotation`.
    Rotation,
    /// `spec.shareWith`.
    ShareWith,
}

impl Parameter {
    /// The field of the `KeyPair`.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Profile => "spec.profile",
            Self::KeyPairName => "spec.keyPairName",
            Self::PublicKey => "spec.publicKey",
            Self::Generate => "spec.generate",
            Self::Description => "spec.description",
            Self::TagKey | Self::TagValue => "spec.tags",
            Self::ClientToken => "spec.clientToken",
            Self::Project => "spec.project",
            Self::Region | Self::Quota => "metadata.namespace",
            Self::Secret => "spec.secret",
            Self::Rotation => "spec.rotation",
            Self::ShareWith => "spec.shareWith",
        }
    }
}

/// The names that a cloud API's messages use for the parameters.
#[derive(Debug)]
pub struct ParameterNames {
    /// The key pair name.
    pub key_pair_name: &'static str,
    /// The public key body.
    pub public_key: &'static str,
    /// The description.
    pub description: &'static str,
    /// The key of a tag.
    pub tag_key: &'static str,
    /// The value of a tag.
    pub tag_value: &'static str,
    /// The client token.
    pub client_token: &'static str,
    /// The project.
    pub project: &'static str,
    /// The region.
    pub region: &'static str,
    /// The number of key pairs in a region.
    pub quota: &'static str,
}

impl ParameterNames {
    /// The cloud's name of `parameter`; one that only Kubernetes has keeps its own name.
    #[must_use]
    pub const fn get(&self, parameter: Parameter) -> &'static str {
        match parameter {
            Parameter::KeyPairName => self.key_pair_name,
            Parameter::Profile | Parameter::PublicKey | Parameter::Generate => self.public_key,
            Parameter::Description => self.description,
            Parameter::TagKey => self.tag_key,
            Parameter::TagValue => self.tag_value,
            Parameter::ClientToken => self.client_token,
            Parameter::Project => self.project,
            Parameter::Region | Parameter::ShareWith => self.region,
            Parameter::Quota => self.quota,
            Parameter::Secret => "Secret",
            Parameter::Rotation => "Rotation",
        }
    }
}
