//! Finds the cluster: from a kubeconfig, read as kubectl reads it, or from the service account of a pod.
//!
//! kube reads and merges the files. This module corrects where it differs from kubectl: a listed file that does not exist, empty
//! strings for unset fields, line breaks in base64, white space around the token in a token file, a server without a scheme, and
//! which proxy applies to which server.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    net::IpAddr,
    path::{MAIN_SEPARATOR, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{
    Request, Uri,
    header::{AUTHORIZATION, HeaderValue},
};
use hyper_util::client::proxy::matcher::Matcher;
use kube::{
    Config,
    client::{AuthError, Body},
    config::{AuthInfo, Cluster, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tower::util::MapRequestLayer;

use crate::domain::display;

/// How long a token is used before its file is read again.
const TOKEN_AGE: Duration = Duration::from_secs(60);

/// Why there is no usable configuration of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig is invalid.
    #[error("{0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is no kubeconfig, and the process does not run in a pod.
    #[error("there is no kubeconfig at {paths}, and this is not a pod: {in_cluster}")]
    NotFound {
        /// The paths of the kubeconfig.
        paths: String,
        /// Why the configuration of a pod cannot be read.
        in_cluster: InClusterError,
    },
    /// The given file does not exist.
    #[error("the kubeconfig {0} does not exist or is empty")]
    Missing(String),
    /// The kubeconfig has no context of this name.
    #[error("the kubeconfig has no context {0}: see `kubectl config get-contexts`")]
    NoContext(String),
    /// The token file cannot be used.
    #[error("cannot get a token: {0}")]
    Token(#[from] AuthError),
}

/// Which kubeconfig and which of its contexts to use, as with the flags of kubectl.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// `--kubeconfig`. Default: the files that the variable `KUBECONFIG` lists, or `~/.kube/config`.
    pub file: Option<PathBuf>,
    /// `--context`. Default: the current context.
    pub context: Option<String>,
}

/// Loads the configuration of the client, and the token to add to each request if it comes from a file.
///
/// # Errors
///
/// If there is no usable configuration.
pub async fn load(selection: &Selection) -> Result<(Config, Option<TokenFile>), Error> {
    let paths = match &selection.file {
        Some(file) => vec![file.clone()],
        None => paths(env::var_os("KUBECONFIG").as_deref(), env::home_dir()),
    };
    let shown = || paths.iter().map(|path| display::escaped(&path.display().to_string()).into_owned());
    let shown = || shown().collect::<Vec<_>>().join(", ");
    let mut config = match (read(&paths)?, &selection.context) {
        (Some(kubeconfig), context) => {
            let kubeconfig = with_context(kubeconfig, context.as_deref())?;
            configure(kubeconfig, |name| env::var(name).ok()).await?
        }
        (None, _) if selection.file.is_some() => return Err(Error::Missing(shown())),
        (None, Some(context)) => return Err(Error::NoContext(display::quoted(context))),
        (None, None) => Config::incluster().map_err(|in_cluster| Error::NotFound { paths: shown(), in_cluster })?,
    };
    config.apply_debug_overrides();
    let token = TokenFile::take_from(&mut config.auth_info)?;
    Ok((config, token))
}

/// Makes this context the current one.
fn with_context(mut kubeconfig: Kubeconfig, context: Option<&str>) -> Result<Kubeconfig, Error> {
    if let Some(context) = context {
        if !kubeconfig.contexts.iter().any(|named| named.name == context) {
            return Err(Error::NoContext(display::quoted(context)));
        }
        kubeconfig.current_context = Some(context.to_owned());
    }
    Ok(kubeconfig)
}

/// Adds the token from a file to each request.
pub fn authorize(token: Option<TokenFile>) -> MapRequestLayer<impl Fn(Request<Body>) -> Request<Body> + Clone> {
    MapRequestLayer::new(move |mut request: Request<Body>| {
        if let Some(token) = &token {
            request.headers_mut().insert(AUTHORIZATION, token.header());
        }
        request
    })
}

/// The paths of the kubeconfig files.
fn paths(listed: Option<&OsStr>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let paths = listed.into_iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty());
    let paths: Vec<PathBuf> = paths.collect();
    if paths.is_empty() { home.into_iter().map(|home| home.join(".kube").join("config")).collect() } else { paths }
}

/// Reads and merges the files that exist; `None` if they configure nothing.
fn read(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for path in paths {
        match Kubeconfig::read_from(path) {
            Ok(mut kubeconfig) => {
                normalize(&mut kubeconfig);
                merged = merged.merge(kubeconfig)?;
            }
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let is_empty = merged.current_context.is_none() && merged.contexts.is_empty() && merged.clusters.is_empty();
    Ok((!is_empty).then_some(merged))
}

/// Unsets empty fields and removes line breaks from base64.
fn normalize(kubeconfig: &mut Kubeconfig) {
    unset(&mut kubeconfig.current_context);
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let Cluster { server, certificate_authority, certificate_authority_data, tls_server_name, proxy_url, .. } =
            cluster;
        unset_path(certificate_authority);
        unwrap_lines(certificate_authority_data);
        for text in [server, certificate_authority_data, tls_server_name, proxy_url] {
            unset(text);
        }
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        for path in [&mut user.token_file, &mut user.client_certificate, &mut user.client_key] {
            unset_path(path);
        }
        unwrap_lines(&mut user.client_certificate_data);
        if let Some(key) = &mut user.client_key_data {
            *key = SecretString::from(key.expose_secret().split_whitespace().collect::<String>());
        }
        for text in [&mut user.client_certificate_data, &mut user.username, &mut user.impersonate] {
            unset(text);
        }
        for secret in [&mut user.token, &mut user.client_key_data, &mut user.password] {
            secret.take_if(|secret| secret.expose_secret().is_empty());
        }
    }
    for context in kubeconfig.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
        unset(&mut context.namespace);
    }
}

fn unset(text: &mut Option<String>) {
    text.take_if(|text| text.is_empty());
}

/// kube has resolved an empty path to the directory of the kubeconfig.
fn unset_path(path: &mut Option<String>) {
    path.take_if(|path| path.is_empty() || path.ends_with(MAIN_SEPARATOR));
}

fn unwrap_lines(base64: &mut Option<String>) {
    if let Some(text) = base64 {
        text.retain(|character| !character.is_whitespace());
    }
}

async fn configure(
    mut kubeconfig: Kubeconfig,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Config, KubeconfigError> {
    let context = kubeconfig.contexts.iter().find(|named| Some(&named.name) == kubeconfig.current_context.as_ref());
    let context = context.and_then(|named| named.context.clone()).unwrap_or_default();
    let user = kubeconfig.auth_infos.iter().find(|named| Some(&named.name) == context.user.as_ref());
    let has_certificate = user
        .and_then(|named| named.auth_info.as_ref())
        .is_some_and(|user| user.client_certificate.is_some() || user.client_certificate_data.is_some());
    let cluster = kubeconfig.clusters.iter_mut().find(|named| named.name == context.cluster);
    let mut proxy = None;
    if let Some(cluster) = cluster.and_then(|named| named.cluster.as_mut()) {
        let has_tls = has_certificate
            || cluster.certificate_authority.is_some()
            || cluster.certificate_authority_data.is_some()
            || cluster.insecure_skip_tls_verify == Some(true);
        if let Some(server) = cluster.server.as_mut().filter(|server| !server.contains("://")) {
            *server = format!("{}://{server}", if has_tls { "https" } else { "http" });
        }
        proxy.clone_from(&cluster.proxy_url);
    }
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let proxy = proxy.or_else(|| proxy_from_environment(&config.cluster_url, variable));
    config.proxy_url = proxy.map(|proxy| proxy.parse()).transpose().map_err(KubeconfigError::ParseProxyUrl)?;
    Ok(config)
}

/// The proxy that the environment sets for this server. Never for loopback addresses.
fn proxy_from_environment(server: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let value = |name: &str| {
        let set = variable(name).or_else(|| variable(&name.to_lowercase()));
        set.filter(|value| !value.is_empty())
    };
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
        return None;
    }
    let proxy = value(if server.scheme_str() == Some("http") { "HTTP_PROXY" } else { "HTTPS_PROXY" })?;
    let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    let no_proxy = value("NO_PROXY").unwrap_or_default();
    if no_proxy.split(',').any(|hosts| hosts.trim() == "*") {
        return None;
    }
    let matcher = Matcher::builder().all(proxy.clone()).no(no_proxy).build();
    matcher.intercept(server).map(|_| proxy)
}

/// A token in a file. It is reread every minute, because the kubelet or another program renews it.
#[derive(Clone)]
pub struct TokenFile(Arc<Mutex<Token>>);

struct Token {
    path: PathBuf,
    header: HeaderValue,
    read: Instant,
}

impl TokenFile {
    /// Takes over the token file from kube, which would treat trailing white space as part of the token.
    fn take_from(user: &mut AuthInfo) -> Result<Option<Self>, AuthError> {
        let Some(path) = user.token_file.take().map(PathBuf::from) else { return Ok(None) };
        match read_token(&path) {
            Ok(header) => {
                user.token = None;
                Ok(Some(Self(Arc::new(Mutex::new(Token { path, header, read: Instant::now() })))))
            }
            // The kubeconfig also has a token inline.
            Err(_) if user.token.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of the header `Authorization`.
    pub fn header(&self) -> HeaderValue {
        let mut token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token.read.elapsed() >= TOKEN_AGE {
            // The last token may still be valid.
            match read_token(&token.path) {
                Ok(header) => token.header = header,
                Err(error) => tracing::warn!(%error, "cannot reread the token file; using the last token"),
            }
            token.read = Instant::now();
        }
        token.header.clone()
    }
}

fn read_token(path: &Path) -> Result<HeaderValue, AuthError> {
    let failed = |error| AuthError::ReadTokenFile(error, path.to_owned());
    let text = fs::read_to_string(path).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty")));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(AuthError::InvalidBearerToken)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Base64, with line breaks, of a PEM file that `pem` accepts.
    const CERTIFICATE: &str =
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElG\n      SUNBVEUtLS0tLQo=";

    fn kubeconfig(name: &str, cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\n\
             contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}, namespace: \"\"}}}}]\n\
             clusters:\n- name: {name}\n  cluster:\n{cluster}\nusers:\n- name: {name}\n  user:\n{user}\n"
        )
    }

    fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    async fn loaded(paths: &[PathBuf]) -> Config {
        configure(read(paths).unwrap().unwrap(), |_| None).await.unwrap()
    }

    #[tokio::test]
    async fn a_missing_file_is_ignored() {
        let folder = TempDir::new().unwrap();
        let good = file(&folder, "good", &kubeconfig("good", "    server: https://good.example.com", "    {}"));
        let (missing, broken) = (folder.path().join("missing"), file(&folder, "broken", "clusters: 7"));
        for paths in [[good.clone(), missing.clone()], [missing.clone(), good.clone()]] {
            assert_eq!(loaded(&paths).await.cluster_url.host(), Some("good.example.com"));
        }
        assert!(read(std::slice::from_ref(&missing)).unwrap().is_none());
        assert!(read(&[good.clone(), broken]).is_err());
        assert!(read(&[good, folder.path().to_owned()]).is_err(), "a folder");
    }

    #[test]
    fn an_empty_list_falls_back_to_the_home_directory() {
        let home = Some(PathBuf::from("/home/somebody"));
        for listed in [None, Some(""), Some(":")] {
            let paths = paths(listed.map(OsStr::new), home.clone());
            assert_eq!(paths, [PathBuf::from("/home/somebody/.kube/config")]);
        }
        assert_eq!(paths(Some(OsStr::new(":/a::b")), home), [PathBuf::from("/a"), PathBuf::from("b")]);
    }

    #[tokio::test]
    async fn the_first_file_that_is_not_empty_wins() {
        let folder = TempDir::new().unwrap();
        let none = file(&folder, "none", "current-context: \"\"\nclusters: null\nusers: []\n");
        let first = file(&folder, "first", &kubeconfig("first", "    server: https://first.example.com", "    {}"));
        let second = file(&folder, "second", &kubeconfig("second", "    server: https://second.example.com", "    {}"));
        assert_eq!(loaded(&[none, first, second]).await.cluster_url.host(), Some("first.example.com"));
    }

    #[tokio::test]
    async fn another_context_can_be_selected() {
        let folder = TempDir::new().unwrap();
        let first = file(&folder, "first", &kubeconfig("first", "    server: https://first.example.com", "    {}"));
        let second = kubeconfig("second", "    server: https://second.example.com", "    {}");
        let second = file(&folder, "second", &second.replace("namespace: \"\"", "namespace: shop"));
        let paths = [first, second];
        let select = |context: &str| with_context(read(&paths).unwrap().unwrap(), Some(context));
        let config = configure(select("second").unwrap(), |_| None).await.unwrap();
        assert_eq!(config.cluster_url.host(), Some("second.example.com"));
        assert_eq!(config.default_namespace, "shop");
        assert!(select("third").unwrap_err().to_string().contains("no context \"third\""));
        let missing = Selection { file: Some(folder.path().join("missing")), context: None };
        assert!(load(&missing).await.err().unwrap().to_string().contains("missing does not exist"));
    }

    #[tokio::test]
    async fn empty_fields_are_unset() {
        let folder = TempDir::new().unwrap();
        let cluster = "    server: https://a.example.com\n    certificate-authority: \"\"\n    certificate-authority-data: \"\"\n    \
                       tls-server-name: \"\"\n    proxy-url: \"\"";
        let user = "    token: \"\"\n    tokenFile: \"\"\n    client-certificate: \"\"\n    client-certificate-data: \"\"\n    \
                    client-key: \"\"\n    client-key-data: \"\"\n    username: \"\"\n    password: \"\"\n    as: \"\"";
        let config = loaded(&[file(&folder, "empty", &kubeconfig("empty", cluster, user))]).await;
        assert_eq!((config.root_cert, config.tls_server_name, config.proxy_url), (None, None, None));
        assert_eq!(config.default_namespace, "default");
        let AuthInfo { token, token_file, client_key, client_certificate_data, username, impersonate, .. } =
            config.auth_info;
        assert!(token.is_none() && client_key.is_none() && client_certificate_data.is_none() && username.is_none());
        assert!(token_file.is_none() && impersonate.is_none());
    }

    #[tokio::test]
    async fn base64_may_have_line_breaks_and_paths_are_relative_to_their_file() {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let cluster = format!("    server: a.example.com:6443\n    certificate-authority-data: |\n      {CERTIFICATE}");
        let text = kubeconfig("lines", &cluster, "    tokenFile: token");
        let mut config = loaded(&[file(&folder, "sub/lines", &text)]).await;
        assert_eq!(config.root_cert.as_ref().map(Vec::len), Some(1));
        assert_eq!(config.cluster_url, "https://a.example.com:6443/");
        assert!(TokenFile::take_from(&mut config.auth_info.clone()).is_err(), "there is none yet");
        file(&folder, "sub/token", "\n abc.def\r\n\n");
        let token = TokenFile::take_from(&mut config.auth_info).unwrap().unwrap();
        assert_eq!(token.header(), "Bearer abc.def");
        assert!(token.header().is_sensitive());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_reread_and_kept_if_that_fails() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "token", "first\n");
        let token_file = path.display().to_string();
        let mut user = AuthInfo { token: Some("given".into()), token_file: Some(token_file), ..AuthInfo::default() };
        let token = TokenFile::take_from(&mut user).unwrap().unwrap();
        assert!(user.token.is_none(), "the file takes precedence");
        fs::write(&path, "second\n").unwrap();
        assert_eq!(token.header(), "Bearer first");
        for (text, expected) in
            [(Some("second\n"), "Bearer second"), (Some(" \n"), "Bearer second"), (None, "Bearer second")]
        {
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            tokio::time::advance(TOKEN_AGE).await;
            assert_eq!(token.header(), expected);
        }
        let missing = Some(path.display().to_string());
        let mut user = AuthInfo { token: Some("given".into()), token_file: missing, ..AuthInfo::default() };
        assert!(TokenFile::take_from(&mut user).unwrap().is_none() && user.token.is_some());
    }

    #[test]
    fn a_proxy_applies_to_its_scheme_and_not_to_no_proxy() {
        let proxy = |server: &'static str, set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            proxy_from_environment(&Uri::from_static(server), value)
        };
        let (https, no) = (("HTTPS_PROXY", "http://proxy:3128"), |hosts| ("NO_PROXY", hosts));
        assert_eq!(proxy("https://10.0.0.1:6443", &[https]).as_deref(), Some("http://proxy:3128"));
        assert_eq!(
            proxy("https://a.example.com", &[("https_proxy", "proxy:3128")]).as_deref(),
            Some("http://proxy:3128")
        );
        assert_eq!(proxy("http://10.0.0.1:6443", &[https]), None, "the other scheme");
        for server in ["https://127.0.0.1:6443", "https://localhost:6443", "https://[::1]:6443"] {
            assert_eq!(proxy(server, &[https]), None, "{server}");
        }
        for hosts in ["*", "10.0.0.0/8", "example.com,10.0.0.1", " 10.0.0.1 "] {
            assert_eq!(proxy("https://10.0.0.1:6443", &[https, no(hosts)]), None, "{hosts}");
        }
        // NO_PROXY lists servers, not proxies.
        assert!(proxy("https://10.0.0.1:6443", &[https, no("proxy,.example.com")]).is_some());
        assert_eq!(proxy("https://a.example.com", &[https, no(".example.com")]), None);
    }

    #[tokio::test]
    async fn the_proxy_of_the_kubeconfig_overrides_the_environment() {
        let folder = TempDir::new().unwrap();
        let cluster = "    server: https://a.example.com\n    proxy-url: http://proxy:3128";
        let read = read(&[file(&folder, "proxy", &kubeconfig("proxy", cluster, "    {}"))]).unwrap().unwrap();
        let config = configure(read, |_| Some("*".to_owned())).await.unwrap();
        assert_eq!(config.proxy_url, Some(Uri::from_static("http://proxy:3128")));
    }
}
