//! How the cluster is found: by a kubeconfig, read as kubectl reads it, or from within a pod.
//!
//! kube reads and merges the files. What it takes otherwise than kubectl does is put right here: a file that is listed and not
//! there, empty strings for what is not set, line breaks in base64, a token file with white space around the token, a server
//! without a scheme, and which proxy is meant for whom.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    net::IpAddr,
    path::{MAIN_SEPARATOR, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Uri, header::HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;
use kube::{
    Config,
    client::AuthError,
    config::{AuthInfo, Cluster, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// How long a token is used before its file is read again.
const TOKEN_AGE: Duration = Duration::from_secs(60);

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is a kubeconfig, and it is of no use.
    #[error("{0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is none, nor is this a pod.
    #[error("there is no kubeconfig at {paths}, and this is no pod: {in_cluster}")]
    Nowhere {
        /// Where it was looked for.
        paths: String,
        /// What a pod would have.
        in_cluster: InClusterError,
    },
    /// The file of the token cannot be used.
    #[error("cannot get a token: {0}")]
    Token(#[from] AuthError),
}

/// What is known of the cluster: how to reach it, and the token to add to each request, if that is in a file.
pub async fn load() -> Result<(Config, Option<TokenFile>), Error> {
    let paths = paths(env::var_os("KUBECONFIG").as_deref(), env::home_dir());
    let mut config = match read(&paths)? {
        Some(kubeconfig) => configure(kubeconfig, |name| env::var(name).ok()).await?,
        None => Config::incluster().map_err(|in_cluster| Error::Nowhere {
            paths: paths.iter().map(|path| super::shown(path)).collect::<Vec<_>>().join(", "),
            in_cluster,
        })?,
    };
    config.apply_debug_overrides();
    let token = TokenFile::take_from(&mut config.auth_info)?;
    Ok((config, token))
}

/// Where to look for kubeconfigs.
fn paths(listed: Option<&OsStr>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let paths = listed.into_iter().flat_map(env::split_paths).filter(|path| !path.as_os_str().is_empty());
    let paths: Vec<PathBuf> = paths.collect();
    if paths.is_empty() { home.into_iter().map(|home| home.join(".kube").join("config")).collect() } else { paths }
}

/// What those say that are there; `None`: nothing.
fn read(paths: &[PathBuf]) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for path in paths {
        match Kubeconfig::read_from(path) {
            Ok(mut kubeconfig) => {
                tidy(&mut kubeconfig);
                merged = merged.merge(kubeconfig)?;
            }
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let is_empty = merged.current_context.is_none() && merged.contexts.is_empty() && merged.clusters.is_empty();
    Ok((!is_empty).then_some(merged))
}

/// Takes away what is not set, and line breaks, which base64 may have.
fn tidy(kubeconfig: &mut Kubeconfig) {
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

/// What was empty has become the folder of the kubeconfig.
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
    let proxy = proxy.or_else(|| proxy_of_environment(&config.cluster_url, variable));
    config.proxy_url = proxy.map(|proxy| proxy.parse()).transpose().map_err(KubeconfigError::ParseProxyUrl)?;
    Ok(config)
}

/// The proxy that the environment names for this server. Never for what is on this machine.
fn proxy_of_environment(server: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let of = |name: &str| {
        let set = variable(name).or_else(|| variable(&name.to_lowercase()));
        set.filter(|value| !value.is_empty())
    };
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
        return None;
    }
    let proxy = of(if server.scheme_str() == Some("http") { "HTTP_PROXY" } else { "HTTPS_PROXY" })?;
    let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    let none = of("NO_PROXY").unwrap_or_default();
    if none.split(',').any(|hosts| hosts.trim() == "*") {
        return None;
    }
    let matcher = Matcher::builder().all(proxy.clone()).no(none).build();
    matcher.intercept(server).map(|_| proxy)
}

/// A token in a file, which is read again each minute: whoever puts it there exchanges it.
#[derive(Clone)]
pub struct TokenFile(Arc<Mutex<Token>>);

struct Token {
    path: PathBuf,
    header: HeaderValue,
    read: Instant,
}

impl TokenFile {
    /// Takes the file from what kube would use, which would take white space at its end for a part of the token.
    fn take_from(user: &mut AuthInfo) -> Result<Option<Self>, AuthError> {
        let Some(path) = user.token_file.take().map(PathBuf::from) else { return Ok(None) };
        match read_token(&path) {
            Ok(header) => {
                user.token = None;
                Ok(Some(Self(Arc::new(Mutex::new(Token { path, header, read: Instant::now() })))))
            }
            // The kubeconfig has one as well.
            Err(_) if user.token.is_some() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The value of the header `Authorization`.
    pub fn header(&self) -> HeaderValue {
        let mut token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if token.read.elapsed() >= TOKEN_AGE {
            // What was read last may still be valid.
            match read_token(&token.path) {
                Ok(header) => token.header = header,
                Err(error) => tracing::warn!(%error, "cannot read the token again; using the last one"),
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
        return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty")));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(AuthError::InvalidBearerToken)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// Base64 of a PEM file that `pem` reads, in lines.
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
    async fn a_file_that_is_not_there_is_passed_over() {
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
    fn an_empty_list_is_no_list() {
        let home = Some(PathBuf::from("/home/somebody"));
        for listed in [None, Some(""), Some(":")] {
            let paths = paths(listed.map(OsStr::new), home.clone());
            assert_eq!(paths, [PathBuf::from("/home/somebody/.kube/config")]);
        }
        assert_eq!(paths(Some(OsStr::new(":/a::b")), home), [PathBuf::from("/a"), PathBuf::from("b")]);
    }

    #[tokio::test]
    async fn the_first_file_wins_unless_it_says_nothing() {
        let folder = TempDir::new().unwrap();
        let none = file(&folder, "none", "current-context: \"\"\nclusters: null\nusers: []\n");
        let first = file(&folder, "first", &kubeconfig("first", "    server: https://first.example.com", "    {}"));
        let second = file(&folder, "second", &kubeconfig("second", "    server: https://second.example.com", "    {}"));
        assert_eq!(loaded(&[none, first, second]).await.cluster_url.host(), Some("first.example.com"));
    }

    #[tokio::test]
    async fn what_is_empty_is_not_set() {
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
    async fn base64_may_have_lines_and_paths_are_those_of_their_file() {
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
    async fn a_token_is_read_again_and_kept_where_that_fails() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "token", "first\n");
        let told = path.display().to_string();
        let mut user = AuthInfo { token: Some("given".into()), token_file: Some(told), ..AuthInfo::default() };
        let token = TokenFile::take_from(&mut user).unwrap().unwrap();
        assert!(user.token.is_none(), "the file comes before it");
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
    fn a_proxy_is_for_those_it_is_meant_for() {
        let proxy = |server: &'static str, set: &[(&str, &str)]| {
            let value = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            proxy_of_environment(&Uri::from_static(server), value)
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
        // Of the proxy it says nothing.
        assert!(proxy("https://10.0.0.1:6443", &[https, no("proxy,.example.com")]).is_some());
        assert_eq!(proxy("https://a.example.com", &[https, no(".example.com")]), None);
    }

    #[tokio::test]
    async fn a_proxy_of_the_kubeconfig_is_used_whatever_the_environment_says() {
        let folder = TempDir::new().unwrap();
        let cluster = "    server: https://a.example.com\n    proxy-url: http://proxy:3128";
        let read = read(&[file(&folder, "proxy", &kubeconfig("proxy", cluster, "    {}"))]).unwrap().unwrap();
        let config = configure(read, |_| Some("*".to_owned())).await.unwrap();
        assert_eq!(config.proxy_url, Some(Uri::from_static("http://proxy:3128")));
    }
}
